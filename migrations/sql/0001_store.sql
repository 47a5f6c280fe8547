-- The store transaction in one round trip: see app/catalog/instances.py. Whoever changes what is stored in a study holds
-- the lock of its row, so that everything inside one study happens one after the other.

CREATE TYPE store_row AS (
    series_at integer,
    uid text,
    version text,
    sop_class text,
    transfer_syntax text,
    instance_number bigint,
    length bigint,
    dataset_offset integer,
    digest bytea,
    digest_meta bytea,
    frame_kind smallint,
    frame_count integer,
    frame_word smallint,
    frame_bits bigint,
    pixel_offset bigint,
    pixel_length bigint,
    pixel_tag integer,
    head bytea,
    json bytea,
    frames bytea,
    checks bytea,
    bulk bytea
);

CREATE FUNCTION text_set(a text[], b text[]) RETURNS text[] LANGUAGE sql IMMUTABLE
RETURN ARRAY(SELECT DISTINCT x FROM unnest(a || b) AS x WHERE x <> '' ORDER BY x);

-- Inserts or changes one study by the values of its newest instance; its id.
CREATE FUNCTION store_study(p_uid text, p_hash bigint, d jsonb) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_id bigint;
    v_patient text;
BEGIN
    SELECT id, issuer_of_patient_id || '|' || patient_id || '|' || patient_name || '|' || patient_birth_date
      INTO v_id, v_patient FROM study WHERE uid = p_uid FOR UPDATE;
    IF v_id IS NOT NULL AND v_patient IS DISTINCT FROM (d->>'issuer_of_patient_id') || '|' || (d->>'patient_id') || '|'
            || (d->>'patient_name') || '|' || (d->>'patient_birth_date')
            AND EXISTS (SELECT FROM study WHERE id = v_id AND instance_count > 0) THEN
        INSERT INTO conflict (kind, study_uid, series_uid, sop_uid)
        SELECT 'demographics', p_uid, '', ''
         WHERE NOT EXISTS (SELECT FROM conflict WHERE study_uid = p_uid AND kind = 'demographics');
    END IF;
    INSERT INTO study AS s (uid, json_hash, json, patient_id, issuer_of_patient_id, patient_name, patient_birth_date,
                            patient_sex, study_date, study_time, accession_number, referring_physician_name,
                            study_description, study_id_text)
    VALUES (p_uid, p_hash, convert_to(d->>'json', 'UTF8'), d->>'patient_id', d->>'issuer_of_patient_id',
            d->>'patient_name', d->>'patient_birth_date', d->>'patient_sex', d->>'study_date', d->>'study_time',
            d->>'accession_number', d->>'referring_physician_name', d->>'study_description', d->>'study_id_text')
    ON CONFLICT (uid) DO UPDATE SET
        json_hash = excluded.json_hash, json = excluded.json, patient_id = excluded.patient_id,
        issuer_of_patient_id = excluded.issuer_of_patient_id, patient_name = excluded.patient_name,
        patient_birth_date = excluded.patient_birth_date, patient_sex = excluded.patient_sex,
        study_date = excluded.study_date, study_time = excluded.study_time,
        accession_number = excluded.accession_number, referring_physician_name = excluded.referring_physician_name,
        study_description = excluded.study_description, study_id_text = excluded.study_id_text
    RETURNING s.id INTO v_id;
    RETURN v_id;
END $$;

-- Every value that a key has in either object.
CREATE FUNCTION merge_value_sets(a jsonb, b jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE
RETURN (
    SELECT coalesce(jsonb_object_agg(key, value), '{}') FROM (
        SELECT key, jsonb_agg(DISTINCT item) AS value
          FROM (SELECT * FROM jsonb_each(a) UNION ALL SELECT * FROM jsonb_each(b)) AS pair,
               jsonb_array_elements(pair.value) AS item
         GROUP BY key) AS merged
);

-- Inserts or changes one series; its id. The caller holds the study's lock.
CREATE FUNCTION store_series(p_study bigint, p_uid text, p_hash bigint, d jsonb) RETURNS bigint LANGUAGE sql
BEGIN ATOMIC
    INSERT INTO series AS s (study_id, uid, json_hash, json, modality, series_number, series_description,
                             step_start_date, step_start_time, attributes)
    VALUES (p_study, p_uid, p_hash, convert_to(d->>'json', 'UTF8'), d->>'modality', (d->>'series_number')::bigint,
            d->>'series_description', d->>'step_start_date', d->>'step_start_time', d->'attributes')
    ON CONFLICT (study_id, uid) DO UPDATE SET
        json_hash = excluded.json_hash, json = excluded.json, modality = excluded.modality,
        series_number = excluded.series_number, series_description = excluded.series_description,
        step_start_date = excluded.step_start_date, step_start_time = excluded.step_start_time,
        attributes = CASE WHEN s.attributes @> excluded.attributes THEN s.attributes
                          ELSE merge_value_sets(s.attributes, excluded.attributes) END
    RETURNING s.id;
END;

-- Stores a batch. Studies are sorted by UID; `p_series_study` and `store_row.series_at` are positions from 1.
-- `p_details` has {"studies": {...}, "series": {...}} for those whose values may not be in the catalog yet; SQLSTATE
-- FR001 asks for the call again with all of them. Gives for each row: 0 stored, 1 identical content is there already,
-- 2 stored and replaces other content, 3 kept aside, 4 rejected; plus 8 when the UID is also in another series.
CREATE FUNCTION store_instances(p_studies text[], p_study_hash bigint[], p_series_study integer[], p_series text[],
                                p_series_hash bigint[], p_details jsonb, p_rows store_row[], p_policy text)
RETURNS integer[] LANGUAGE plpgsql
-- Plans are made while tables are small and without statistics, when the planner would choose to read them whole.
SET enable_seqscan = off SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    v_studies bigint[] := '{}';
    v_series bigint[] := '{}';
    v_outcome integer[] := array_fill(0, ARRAY[cardinality(p_rows)]);
    v_elsewhere integer[] := array_fill(0, ARRAY[cardinality(p_rows)]);
    v_id bigint;
    v_hash bigint;
    v_new integer;
    v_first boolean;
    v_modality text;
    v_classes text[];
    d jsonb;
    r record;
BEGIN
    FOR i IN 1 .. cardinality(p_studies) LOOP
        SELECT id, json_hash INTO v_id, v_hash FROM study WHERE uid = p_studies[i] FOR UPDATE;
        IF v_id IS NULL OR v_hash <> p_study_hash[i] THEN
            d := p_details->'studies'->(p_studies[i]);
            IF d IS NULL THEN
                RAISE EXCEPTION 'details of a study are wanted' USING ERRCODE = 'FR001';
            END IF;
            v_id := store_study(p_studies[i], p_study_hash[i], d);
        END IF;
        v_studies[i] := v_id;
    END LOOP;
    FOR i IN 1 .. cardinality(p_series) LOOP
        SELECT id, json_hash INTO v_id, v_hash FROM series
         WHERE study_id = v_studies[p_series_study[i]] AND uid = p_series[i];
        IF v_id IS NULL OR v_hash <> p_series_hash[i] THEN
            d := p_details->'series'->(i - 1);
            IF d IS NULL OR d = 'null'::jsonb THEN
                RAISE EXCEPTION 'details of a series are wanted' USING ERRCODE = 'FR001';
            END IF;
            v_id := store_series(v_studies[p_series_study[i]], p_series[i], p_series_hash[i], d);
        END IF;
        v_series[i] := v_id;
    END LOOP;

    FOR r IN SELECT x.at, x.digest, x.transfer_syntax, x.version, x.series_at, e.id AS old_id, e.series_id, e.uid,
                    e.version AS old_version, e.digest = x.digest AND e.transfer_syntax = x.transfer_syntax AS same
               FROM unnest(p_rows) WITH ORDINALITY AS x (series_at, uid, version, sop_class, transfer_syntax,
                    instance_number, length, dataset_offset, digest, digest_meta, frame_kind, frame_count, frame_word,
                    frame_bits, pixel_offset, pixel_length, pixel_tag, head, json, frames, checks, bulk, at)
              -- OFFSET 0 keeps the rows that arrive outermost, so that each looks itself up in the index.
              CROSS JOIN LATERAL (SELECT * FROM instance WHERE uid = x.uid AND state = 0 OFFSET 0) AS e
    LOOP
        IF r.series_id <> v_series[r.series_at] THEN
            v_elsewhere[r.at] := 8;
        ELSIF r.same THEN
            v_outcome[r.at] := 1;
        ELSE
            v_outcome[r.at] := CASE p_policy WHEN 'replace' THEN 2 WHEN 'keep' THEN 3 ELSE 4 END;
            IF p_policy = 'replace' THEN
                UPDATE instance SET state = 1 WHERE id = r.old_id;
            END IF;
            INSERT INTO conflict (kind, study_uid, series_uid, sop_uid, detail)
            VALUES (CASE p_policy WHEN 'replace' THEN 'replaced' WHEN 'keep' THEN 'kept' ELSE 'rejected' END,
                    p_studies[p_series_study[r.series_at]], p_series[r.series_at], r.uid,
                    jsonb_build_object('stored', r.old_version, 'arrived', r.version));
        END IF;
    END LOOP;

    WITH arrived AS MATERIALIZED (
        SELECT nextval('instance_id_seq') AS id, x.*
          FROM unnest(p_rows) WITH ORDINALITY AS x (series_at, uid, version, sop_class, transfer_syntax,
               instance_number, length, dataset_offset, digest, digest_meta, frame_kind, frame_count, frame_word,
               frame_bits, pixel_offset, pixel_length, pixel_tag, head, json, frames, checks, bulk, at)
         WHERE v_outcome[x.at] IN (0, 2, 3)
    ), facts AS (
        INSERT INTO instance (id, series_id, uid, version, state, sop_class, transfer_syntax, instance_number, length,
                              dataset_offset, digest, digest_meta, frame_kind, frame_count, frame_word, frame_bits,
                              pixel_offset, pixel_length, pixel_tag, head)
        OVERRIDING SYSTEM VALUE
        SELECT id, v_series[series_at], uid, version, CASE WHEN v_outcome[at] = 3 THEN 2 ELSE 0 END, sop_class,
               transfer_syntax, instance_number, length, dataset_offset, digest, digest_meta, frame_kind, frame_count,
               frame_word, frame_bits, pixel_offset, pixel_length, pixel_tag, head
          FROM arrived
    )
    INSERT INTO instance_data (instance_id, json, frames, checks, bulk)
    SELECT id, json, frames, checks, bulk FROM arrived;

    FOR r IN SELECT x.series_at, count(*) FILTER (WHERE v_outcome[x.at] = 0) AS added,
                    array_agg(DISTINCT x.sop_class) AS classes
               FROM unnest(p_rows) WITH ORDINALITY AS x (series_at, uid, version, sop_class, transfer_syntax,
                    instance_number, length, dataset_offset, digest, digest_meta, frame_kind, frame_count, frame_word,
                    frame_bits, pixel_offset, pixel_length, pixel_tag, head, json, frames, checks, bulk, at)
              WHERE v_outcome[x.at] IN (0, 2)
              GROUP BY x.series_at ORDER BY x.series_at
    LOOP
        UPDATE series SET instance_count = instance_count + r.added, revision = revision + 1, updated_at = now(),
               sop_classes = CASE WHEN sop_classes @> r.classes THEN sop_classes
                                  ELSE text_set(sop_classes, r.classes) END
         WHERE id = v_series[r.series_at]
        RETURNING instance_count = r.added AND r.added > 0, modality INTO v_first, v_modality;
        UPDATE study SET instance_count = instance_count + r.added, series_count = series_count + v_first::integer,
               revision = revision + 1, updated_at = now(),
               modalities = CASE WHEN v_modality = '' OR v_modality = ANY (modalities) THEN modalities
                                 ELSE text_set(modalities, ARRAY[v_modality]) END,
               sop_classes = CASE WHEN sop_classes @> r.classes THEN sop_classes
                                  ELSE text_set(sop_classes, r.classes) END
         WHERE id = v_studies[p_series_study[r.series_at]];
    END LOOP;

    FOR i IN 1 .. cardinality(p_rows) LOOP
        IF v_elsewhere[i] > 0 THEN
            v_outcome[i] := v_outcome[i] + 8;
            IF v_outcome[i] = 8 THEN
                INSERT INTO conflict (kind, study_uid, series_uid, sop_uid)
                VALUES ('elsewhere', p_studies[p_series_study[p_rows[i].series_at]], p_series[p_rows[i].series_at],
                        p_rows[i].uid);
            END IF;
        END IF;
    END LOOP;
    RETURN v_outcome;
END $$;

-- The common case of `store_instances` at less cost: one new instance of a study and series whose values are as the
-- catalog has them. Gives whether it was stored; when not, `store_instances` knows what else is the matter.
CREATE FUNCTION store_instance(p_study text, p_study_hash bigint, p_series text, p_series_hash bigint, p store_row)
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
            OR EXISTS (SELECT FROM instance WHERE uid = p.uid AND state = 0) THEN
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
