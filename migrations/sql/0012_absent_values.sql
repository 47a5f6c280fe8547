-- The members of `b`, and those of `a` that `b` does not have or has without a value: texts of the members of DICOM JSON
-- objects, without braces.
CREATE FUNCTION merge_members(a text, b text) RETURNS text LANGUAGE sql IMMUTABLE
RETURN (
    SELECT coalesce(string_agg(to_json(key)::text || ':' || value, ',' ORDER BY key COLLATE "C"), '') FROM (
        SELECT DISTINCT ON (key) key, value::text AS value
          FROM (SELECT key, value, 0 AS age FROM json_each(('{' || b || '}')::json)
                UNION ALL SELECT key, value, 1 FROM json_each(('{' || a || '}')::json)) AS member
         ORDER BY key, (SELECT count(*) FROM json_object_keys(value)) = 1, age) AS chosen
);

-- Inserts or changes one study by the values of its newest instances, `d`, the newest one last; its id. A column that is
-- null, and a member of `json` that is absent or has no value, is as other instances had it.
CREATE OR REPLACE FUNCTION store_study(p_uid text, p_hash bigint, d jsonb) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_id bigint;
    v_patient text;
    v jsonb;
BEGIN
    FOR v IN SELECT * FROM jsonb_array_elements(CASE jsonb_typeof(d) WHEN 'array' THEN d ELSE jsonb_build_array(d) END)
    LOOP
        SELECT id, issuer_of_patient_id || '|' || patient_id || '|' || patient_name || '|' || patient_birth_date
          INTO v_id, v_patient FROM study WHERE uid = p_uid FOR UPDATE;
        IF v_id IS NOT NULL AND v_patient IS DISTINCT FROM
                coalesce(v->>'issuer_of_patient_id', '') || '|' || coalesce(v->>'patient_id', '') || '|'
                || coalesce(v->>'patient_name', '') || '|' || coalesce(v->>'patient_birth_date', '')
                AND EXISTS (SELECT FROM study WHERE id = v_id AND instance_count > 0) THEN
            INSERT INTO conflict (kind, study_uid, series_uid, sop_uid)
            SELECT 'demographics', p_uid, '', ''
             WHERE NOT EXISTS (SELECT FROM conflict WHERE study_uid = p_uid AND kind = 'demographics');
        END IF;
        INSERT INTO study AS s (uid, json_hash, json, patient_id, issuer_of_patient_id, patient_name,
                                patient_birth_date, patient_sex, study_date, study_time, accession_number,
                                referring_physician_name, study_description, study_id_text)
        VALUES (p_uid, p_hash, convert_to(v->>'json', 'UTF8'), coalesce(v->>'patient_id', ''),
                coalesce(v->>'issuer_of_patient_id', ''), coalesce(v->>'patient_name', ''),
                coalesce(v->>'patient_birth_date', ''), coalesce(v->>'patient_sex', ''), coalesce(v->>'study_date', ''),
                coalesce(v->>'study_time', ''), coalesce(v->>'accession_number', ''),
                coalesce(v->>'referring_physician_name', ''), coalesce(v->>'study_description', ''),
                coalesce(v->>'study_id_text', ''))
        ON CONFLICT (uid) DO UPDATE SET
            json_hash = excluded.json_hash,
            json = convert_to(merge_members(convert_from(s.json, 'UTF8'), v->>'json'), 'UTF8'),
            patient_id = coalesce(v->>'patient_id', s.patient_id),
            issuer_of_patient_id = coalesce(v->>'issuer_of_patient_id', s.issuer_of_patient_id),
            patient_name = coalesce(v->>'patient_name', s.patient_name),
            patient_birth_date = coalesce(v->>'patient_birth_date', s.patient_birth_date),
            patient_sex = coalesce(v->>'patient_sex', s.patient_sex),
            study_date = coalesce(v->>'study_date', s.study_date),
            study_time = coalesce(v->>'study_time', s.study_time),
            accession_number = coalesce(v->>'accession_number', s.accession_number),
            referring_physician_name = coalesce(v->>'referring_physician_name', s.referring_physician_name),
            study_description = coalesce(v->>'study_description', s.study_description),
            study_id_text = coalesce(v->>'study_id_text', s.study_id_text)
        RETURNING s.id INTO v_id;
    END LOOP;
    RETURN v_id;
END $$;
