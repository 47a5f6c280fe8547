-- Modality performed procedure steps: see app/catalog/performed_steps.py.
CREATE TABLE performed_step (
    uid text COLLATE "C" PRIMARY KEY,
    state smallint NOT NULL DEFAULT 0,
    wrong_entry boolean NOT NULL DEFAULT false,
    json bytea NOT NULL,
    study_uids text[] COLLATE "C" NOT NULL DEFAULT '{}',
    series_uids text[] COLLATE "C" NOT NULL DEFAULT '{}',
    sop_uids text[] COLLATE "C" NOT NULL DEFAULT '{}',
    missing integer NOT NULL DEFAULT 0,
    look_at timestamptz,
    ended_at timestamptz,
    complete_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN performed_step.state IS '0 in progress, 1 completed, 2 discontinued';
COMMENT ON COLUMN performed_step.wrong_entry IS 'discontinued for DCM 110514: its images are hidden, whenever they come';
COMMENT ON COLUMN performed_step.json IS 'all its attributes as one DICOM JSON object';
COMMENT ON COLUMN performed_step.sop_uids IS 'the instances that it references; series_uids are their series';
COMMENT ON COLUMN performed_step.look_at IS 'when its instances are looked for next; null: never';
COMMENT ON COLUMN performed_step.complete_at IS 'when all its instances were seen to be there';
CREATE INDEX performed_step_studies ON performed_step USING gin (study_uids);
CREATE INDEX performed_step_look ON performed_step (look_at) WHERE look_at IS NOT NULL;

-- Instances that are hidden as soon as they are stored. Empty on most days.
CREATE TABLE refused_instance (
    sop_uid text COLLATE "C" NOT NULL,
    series_uid text COLLATE "C" NOT NULL,
    step_uid text COLLATE "C" NOT NULL,
    undo_hours double precision NOT NULL,
    PRIMARY KEY (sop_uid, series_uid, step_uid)
);
CREATE INDEX refused_instance_step ON refused_instance (step_uid);

-- Versions that were hidden while they were stored, until the journal says so too.
CREATE TABLE hidden_arrival (
    instance_id bigint PRIMARY KEY
);

-- Hides versions of one study under the deletion of this step, of which there is one for each study.
CREATE FUNCTION hide_versions(p_step text, p_study bigint, p_ids bigint[], p_hours float8) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_uid text;
    v_until timestamptz := now() + make_interval(secs => p_hours * 3600);
BEGIN
    UPDATE instance SET state = 3 WHERE id = ANY (p_ids) AND state = 0;
    PERFORM recount_study(p_study);
    SELECT uid INTO v_uid FROM study WHERE id = p_study;
    UPDATE deletion SET instances = instances || p_ids, purge_after = greatest(purge_after, v_until)
     WHERE id = (SELECT id FROM deletion WHERE principal = 'mpps ' || p_step AND study_uid = v_uid AND ended = ''
                  ORDER BY id DESC LIMIT 1 FOR UPDATE);
    IF NOT FOUND THEN
        INSERT INTO deletion (principal, study_uid, instances, purge_after)
        VALUES ('mpps ' || p_step, v_uid, p_ids, v_until);
    END IF;
END $$;

-- Hides what is there of the instances that a step references; the versions, for the journal.
CREATE FUNCTION hide_performed(p_step text)
RETURNS TABLE (study_uid text, series_uid text, sop_uid text, version text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v record;
    v_ids bigint[];
BEGIN
    -- Whoever stores into these studies now has locked them, and is waited for.
    PERFORM FROM study WHERE uid IN (SELECT unnest(study_uids) FROM performed_step WHERE uid = p_step)
      ORDER BY uid FOR UPDATE;
    FOR v IN SELECT DISTINCT s.study_id, st.uid FROM refused_instance r
               JOIN instance i ON i.uid = r.sop_uid AND i.state = 0
               JOIN series s ON s.id = i.series_id AND s.uid = r.series_uid JOIN study st ON st.id = s.study_id
              WHERE r.step_uid = p_step ORDER BY st.uid
    LOOP
        PERFORM FROM study WHERE id = v.study_id FOR UPDATE;
        SELECT array_agg(i.id) INTO v_ids FROM refused_instance r JOIN instance i ON i.uid = r.sop_uid AND i.state = 0
          JOIN series s ON s.id = i.series_id AND s.uid = r.series_uid
         WHERE r.step_uid = p_step AND s.study_id = v.study_id;
        CONTINUE WHEN v_ids IS NULL;
        PERFORM hide_versions(p_step, v.study_id, v_ids,
                              (SELECT max(undo_hours) FROM refused_instance WHERE step_uid = p_step));
        RETURN QUERY SELECT v.uid, s.uid, i.uid, i.version
                       FROM instance i JOIN series s ON s.id = i.series_id WHERE i.id = ANY (v_ids);
    END LOOP;
END $$;

-- As in 0001, but what may be refused is left to `store_instances`: one more look into an index, which is empty as a rule.
CREATE OR REPLACE FUNCTION store_instance(p_study text, p_study_hash bigint, p_series text, p_series_hash bigint, p store_row)
RETURNS boolean LANGUAGE plpgsql SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_study bigint;
    v_series bigint;
    v_hash bigint;
    v_id bigint;
    v_first boolean;
    v_modality text;
BEGIN
    SELECT id, json_hash INTO v_study, v_hash FROM study WHERE uid = p_study FOR UPDATE;
    IF v_study IS NULL OR v_hash <> p_study_hash THEN
        RETURN false;
    END IF;
    SELECT id, json_hash INTO v_series, v_hash FROM series WHERE study_id = v_study AND uid = p_series;
    IF v_series IS NULL OR v_hash <> p_series_hash
            OR EXISTS (SELECT FROM instance WHERE uid = p.uid AND state = 0)
            OR EXISTS (SELECT FROM refused_instance WHERE sop_uid = p.uid) THEN
        RETURN false;
    END IF;
    INSERT INTO instance (series_id, uid, version, state, sop_class, transfer_syntax, instance_number, length,
                          dataset_offset, digest, digest_meta, frame_kind, frame_count, frame_word, frame_bits,
                          pixel_offset, pixel_length, pixel_tag, head)
    VALUES (v_series, p.uid, p.version, 0, p.sop_class, p.transfer_syntax, p.instance_number, p.length,
            p.dataset_offset, p.digest, p.digest_meta, p.frame_kind, p.frame_count, p.frame_word, p.frame_bits,
            p.pixel_offset, p.pixel_length, p.pixel_tag, p.head)
    RETURNING id INTO v_id;
    INSERT INTO instance_data (instance_id, json, frames, checks, bulk)
    VALUES (v_id, p.json, p.frames, p.checks, p.bulk);
    UPDATE series SET instance_count = instance_count + 1, revision = revision + 1, updated_at = now(),
           sop_classes = CASE WHEN p.sop_class = ANY (sop_classes) THEN sop_classes
                              ELSE text_set(sop_classes, ARRAY[p.sop_class]) END
     WHERE id = v_series
    RETURNING instance_count = 1, modality INTO v_first, v_modality;
    UPDATE study SET instance_count = instance_count + 1, series_count = series_count + v_first::integer,
           revision = revision + 1, updated_at = now(),
           modalities = CASE WHEN v_modality = '' OR v_modality = ANY (modalities) THEN modalities
                             ELSE text_set(modalities, ARRAY[v_modality]) END,
           sop_classes = CASE WHEN p.sop_class = ANY (sop_classes) THEN sop_classes
                              ELSE text_set(sop_classes, ARRAY[p.sop_class]) END
     WHERE id = v_study;
    RETURN true;
END $$;

-- Stores a batch as before, and hides what a step refused of it before anybody can see it.
ALTER FUNCTION store_instances(text[], bigint[], integer[], text[], bigint[], jsonb, store_row[], text)
    RENAME TO store_batch;
CREATE FUNCTION store_instances(p_studies text[], p_study_hash bigint[], p_series_study integer[], p_series text[],
                                p_series_hash bigint[], p_details jsonb, p_rows store_row[], p_policy text)
RETURNS integer[] LANGUAGE plpgsql SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_outcome integer[] := store_batch(p_studies, p_study_hash, p_series_study, p_series, p_series_hash, p_details,
                                       p_rows, p_policy);
    v record;
BEGIN
    FOR v IN SELECT DISTINCT ON (i.id) i.id, s.study_id, r.step_uid, r.undo_hours
               FROM unnest(p_rows) AS x
              CROSS JOIN LATERAL (SELECT * FROM refused_instance WHERE sop_uid = x.uid OFFSET 0) AS r
               JOIN instance i ON i.uid = r.sop_uid AND i.state = 0
               JOIN series s ON s.id = i.series_id AND s.uid = r.series_uid
              WHERE s.study_id IN (SELECT id FROM study WHERE uid = ANY (p_studies))
    LOOP
        PERFORM hide_versions(v.step_uid, v.study_id, ARRAY[v.id], v.undo_hours);
        INSERT INTO hidden_arrival VALUES (v.id) ON CONFLICT DO NOTHING;
    END LOOP;
    RETURN v_outcome;
END $$;

-- Whoever undoes such a deletion wants the images: nothing of the step is refused any more.
CREATE FUNCTION accept_again() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM refused_instance WHERE step_uid = substr(NEW.principal, 6);
    RETURN NULL;
END $$;
CREATE TRIGGER deletion_undone AFTER UPDATE OF ended ON deletion
    FOR EACH ROW WHEN (NEW.ended = 'undone' AND NEW.principal LIKE 'mpps %') EXECUTE FUNCTION accept_again();
