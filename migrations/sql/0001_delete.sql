-- Deletes hide versions in a transaction; bytes go later. See app/catalog/deletions.py.

-- Sets the counts and sets of a study and its series from its visible instances. The caller holds the study's lock.
CREATE FUNCTION recount_study(p_study bigint) RETURNS void LANGUAGE sql
BEGIN ATOMIC
    UPDATE series SET instance_count = found.instances, sop_classes = found.classes, revision = revision + 1,
                      updated_at = now()
      FROM (SELECT s.id, count(i.id)::integer AS instances,
                   coalesce(array_agg(DISTINCT i.sop_class) FILTER (WHERE i.sop_class <> ''), '{}') AS classes
              FROM series s LEFT JOIN instance i ON i.series_id = s.id AND i.state = 0
             WHERE s.study_id = p_study GROUP BY s.id) AS found
     WHERE series.id = found.id
       AND (series.instance_count, series.sop_classes) IS DISTINCT FROM (found.instances, found.classes);
    UPDATE study SET series_count = found.series, instance_count = found.instances, modalities = found.modalities,
                     sop_classes = found.classes, revision = revision + 1, updated_at = now()
      FROM (SELECT count(*) FILTER (WHERE instance_count > 0)::integer AS series,
                   coalesce(sum(instance_count), 0)::integer AS instances,
                   coalesce(array_agg(DISTINCT modality) FILTER (WHERE instance_count > 0 AND modality <> ''), '{}')
                       AS modalities,
                   ARRAY(SELECT DISTINCT c FROM series x, unnest(x.sop_classes) AS c
                          WHERE x.study_id = p_study ORDER BY c) AS classes
              FROM series WHERE study_id = p_study) AS found
     WHERE study.id = p_study;
END;

-- Hides what is visible of a study, series or instance ('' = all of the level above). No row when nothing was.
CREATE FUNCTION delete_instances(p_study text, p_series text, p_sop text, p_principal text, p_hours float8)
RETURNS TABLE (deletion bigint, series_uid text, sop_uid text, version text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_study bigint;
    v_deletion bigint;
    v_ids bigint[];
BEGIN
    SELECT id INTO v_study FROM study WHERE uid = p_study FOR UPDATE;
    WITH hidden AS (
        UPDATE instance i SET state = 3 FROM series s
         WHERE s.study_id = v_study AND i.series_id = s.id AND i.state = 0
           AND (p_series = '' OR s.uid = p_series) AND (p_sop = '' OR i.uid = p_sop)
        RETURNING i.id)
    SELECT array_agg(id) INTO v_ids FROM hidden;
    IF v_ids IS NULL THEN
        RETURN;
    END IF;
    PERFORM recount_study(v_study);
    INSERT INTO deletion (principal, study_uid, series_uid, sop_uid, instances, purge_after)
    VALUES (p_principal, p_study, p_series, p_sop, v_ids, now() + make_interval(secs => p_hours * 3600))
    RETURNING id INTO v_deletion;
    RETURN QUERY SELECT v_deletion, s.uid, i.uid, i.version
                   FROM instance i JOIN series s ON s.id = i.series_id WHERE i.id = ANY (v_ids);
END $$;

-- Shows again what a deletion hid, but not where something newer was stored since. No row when it cannot be undone.
CREATE FUNCTION undo_deletion(p_deletion bigint)
RETURNS TABLE (study_uid text, series_uid text, sop_uid text, version text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v deletion;
    v_study bigint;
BEGIN
    SELECT * INTO v FROM deletion WHERE id = p_deletion;
    SELECT id INTO v_study FROM study WHERE uid = v.study_uid FOR UPDATE;
    UPDATE deletion SET ended = 'undone' WHERE id = p_deletion AND ended = '';
    IF NOT FOUND THEN
        RETURN;
    END IF;
    RETURN QUERY
        UPDATE instance i SET state = 0 FROM series s
         WHERE i.id = ANY (v.instances) AND i.state = 3 AND s.id = i.series_id
           AND NOT EXISTS (SELECT FROM instance n WHERE n.series_id = i.series_id AND n.uid = i.uid
                              AND n.state <> 2 AND n.id > i.id)
        RETURNING v.study_uid, s.uid, i.uid, i.version;
    PERFORM recount_study(v_study);
END $$;

-- Takes up to p_most instances of ended grace periods out of the catalog; their keys, whose bytes may then go.
CREATE FUNCTION purge_deletions(p_most integer)
RETURNS TABLE (study_uid text, series_uid text, sop_uid text, version text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v deletion;
    v_ids bigint[];
BEGIN
    LOOP
        SELECT * INTO v FROM deletion WHERE ended = '' AND purge_after <= now()
         ORDER BY purge_after LIMIT 1 FOR UPDATE SKIP LOCKED;
        IF NOT FOUND THEN
            RETURN;
        END IF;
        SELECT array_agg(id) INTO v_ids FROM (
            SELECT id FROM instance WHERE id = ANY (v.instances) AND state = 3 LIMIT p_most) AS batch;
        EXIT WHEN v_ids IS NOT NULL;
        UPDATE deletion SET ended = 'purged' WHERE id = v.id;
    END LOOP;
    RETURN QUERY SELECT st.uid, se.uid, i.uid, i.version FROM instance i
                   JOIN series se ON se.id = i.series_id JOIN study st ON st.id = se.study_id WHERE i.id = ANY (v_ids);
    DELETE FROM instance_data WHERE instance_id = ANY (v_ids);
    DELETE FROM instance WHERE id = ANY (v_ids);
END $$;

-- For reindex: does again what a journal says was done to versions. Deleted ones can be undone until their old time.
CREATE FUNCTION replay_delete(p_study text, p_versions text[], p_at timestamptz, p_hours float8) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_study bigint;
    v_ids bigint[];
BEGIN
    SELECT id INTO v_study FROM study WHERE uid = p_study FOR UPDATE;
    WITH hidden AS (
        UPDATE instance i SET state = 3 FROM series s
         WHERE s.study_id = v_study AND i.series_id = s.id AND i.version = ANY (p_versions) RETURNING i.id)
    SELECT array_agg(id) INTO v_ids FROM hidden;
    IF v_ids IS NOT NULL THEN
        INSERT INTO deletion (at, principal, study_uid, instances, purge_after)
        VALUES (p_at, 'reindex', p_study, v_ids, p_at + make_interval(secs => p_hours * 3600));
        PERFORM recount_study(v_study);
    END IF;
END $$;

CREATE FUNCTION replay_undo(p_study text, p_versions text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_study bigint;
BEGIN
    SELECT id INTO v_study FROM study WHERE uid = p_study FOR UPDATE;
    UPDATE instance i SET state = 0 FROM series s
     WHERE s.study_id = v_study AND i.series_id = s.id AND i.version = ANY (p_versions) AND i.state = 3
       AND NOT EXISTS (SELECT FROM instance n WHERE n.series_id = i.series_id AND n.uid = i.uid AND n.state = 0);
    PERFORM recount_study(v_study);
END $$;
