-- As in 0007, but what a deletion had hidden and its undo shows again becomes quiet too: routes that wait for that had
-- sent nothing of it, or not all.
CREATE OR REPLACE FUNCTION watch_quiet(p_seconds integer[], p_most integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_from bigint;
    v_to bigint;
BEGIN
    SELECT id INTO v_to FROM change_cursor WHERE name = 'horizon';
    IF NOT EXISTS (SELECT FROM change_cursor WHERE name = 'quiet' AND id < v_to)
            AND NOT EXISTS (SELECT FROM quiet_watch WHERE changed_at < now() - make_interval(secs => seconds)) THEN
        RETURN;
    END IF;
    SELECT id INTO v_from FROM change_cursor WHERE name = 'quiet' FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    v_to := least(v_to, v_from + p_most);
    INSERT INTO quiet_watch (study_uid, series_uid, seconds, changed_at)
    SELECT s.uid, coalesce(e.uid, ''), n, max(i.created_at)
      FROM instance i JOIN series e ON e.id = i.series_id JOIN study s ON s.id = e.study_id, unnest(p_seconds) AS n
     WHERE i.id > v_from AND i.id <= v_to AND i.state <> 2
     GROUP BY GROUPING SETS ((s.uid, e.uid, n), (s.uid, n))
        ON CONFLICT (study_uid, series_uid, seconds) DO UPDATE
           SET changed_at = greatest(quiet_watch.changed_at, excluded.changed_at);
    INSERT INTO quiet_watch (study_uid, series_uid, seconds, changed_at)
    SELECT s.uid, coalesce(e.uid, ''), n, max(c.at)
      FROM change c JOIN study s ON s.uid = c.study_uid
      JOIN series e ON e.study_id = s.id AND e.instance_count > 0 AND c.series_uid IN ('', e.uid),
           unnest(p_seconds) AS n
     WHERE c.id > v_from AND c.id <= v_to AND c.kind = 'undone'
     GROUP BY GROUPING SETS ((s.uid, e.uid, n), (s.uid, n))
        ON CONFLICT (study_uid, series_uid, seconds) DO UPDATE
           SET changed_at = greatest(quiet_watch.changed_at, excluded.changed_at);
    UPDATE change_cursor SET id = v_to WHERE name = 'quiet';
    WITH quiet AS (
        DELETE FROM quiet_watch WHERE changed_at < now() - make_interval(secs => seconds) RETURNING *
    )
    SELECT count(add_change(CASE q.series_uid WHEN '' THEN 'study-quiet' ELSE 'series-quiet' END, q.study_uid,
                            q.series_uid, '', jsonb_build_object('seconds', q.seconds))) INTO v_from
      FROM quiet q JOIN study s ON s.uid = q.study_uid AND s.instance_count > 0;
END $$;
