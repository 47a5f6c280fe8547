-- As in 0004, but each row that arrives looks itself up: plans are made while tables are empty, and a join was then made
-- by reading all instances, for each batch and for the first instance of each series.
CREATE OR REPLACE FUNCTION store_instances(p_studies text[], p_study_hash bigint[], p_series_study integer[],
                                           p_series text[], p_series_hash bigint[], p_details jsonb, p_rows store_row[],
                                           p_policy text)
RETURNS integer[] LANGUAGE plpgsql SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_outcome integer[] := store_batch(p_studies, p_study_hash, p_series_study, p_series, p_series_hash, p_details,
                                       p_rows, p_policy);
    v record;
BEGIN
    IF NOT EXISTS (SELECT FROM refused_instance) THEN
        RETURN v_outcome;
    END IF;
    FOR v IN SELECT DISTINCT ON (i.id) i.id, s.study_id, r.step_uid, r.undo_hours
               FROM unnest(p_rows) AS x
              -- OFFSET 0 keeps the order of the joins as it is written.
              CROSS JOIN LATERAL (SELECT * FROM refused_instance WHERE sop_uid = x.uid OFFSET 0) AS r
              CROSS JOIN LATERAL (SELECT id, series_id FROM instance WHERE uid = r.sop_uid AND state = 0 OFFSET 0) AS i
              CROSS JOIN LATERAL (SELECT study_id, uid FROM series WHERE id = i.series_id OFFSET 0) AS s
              CROSS JOIN LATERAL (SELECT uid FROM study WHERE id = s.study_id OFFSET 0) AS t
              WHERE s.uid = r.series_uid AND t.uid = ANY (p_studies)
    LOOP
        PERFORM hide_versions(v.step_uid, v.study_id, ARRAY[v.id], v.undo_hours);
        INSERT INTO hidden_arrival VALUES (v.id) ON CONFLICT DO NOTHING;
    END LOOP;
    RETURN v_outcome;
END $$;
