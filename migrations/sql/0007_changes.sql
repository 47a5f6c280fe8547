-- The change feed: see app/catalog/changes.py. A stored version is its own event, under the id of its row, so a store
-- costs nothing more; every other event is a row here, with an id of the same sequence. Both are taken while a
-- transaction id is held, so whoever knows that all older transactions have ended knows that no smaller id comes.
CREATE TABLE change (
    id bigint PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    kind text NOT NULL,
    study_uid text COLLATE "C" NOT NULL,
    series_uid text COLLATE "C" NOT NULL DEFAULT '',
    sop_uid text COLLATE "C" NOT NULL DEFAULT '',
    detail jsonb NOT NULL DEFAULT '{}'
);
COMMENT ON COLUMN change.kind IS 'deleted, undone, series-quiet, study-quiet; stored versions are rows of `instance`';

CREATE TABLE change_cursor (
    name text COLLATE "C" PRIMARY KEY,
    id bigint NOT NULL
);
COMMENT ON COLUMN change_cursor.id IS
    'of `horizon`: up to here nothing can come any more, and everybody may read; of others: how far they have read';
INSERT INTO change_cursor (name, id)
SELECT name, coalesce((SELECT max(id) FROM instance), 0) FROM unnest(ARRAY['horizon', 'quiet', 'routes']) AS name;

CREATE TABLE quiet_watch (
    study_uid text COLLATE "C" NOT NULL,
    series_uid text COLLATE "C" NOT NULL,
    seconds integer NOT NULL,
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (study_uid, series_uid, seconds)
);

CREATE TABLE route (
    name text COLLATE "C" PRIMARY KEY,
    json jsonb NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN route.json IS 'what app.archive.routing.Route.from_json reads';

CREATE FUNCTION add_change(p_kind text, p_study text, p_series text, p_sop text, p_detail jsonb) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    v_id bigint;
BEGIN
    PERFORM pg_current_xact_id();  -- before the sequence: see above
    v_id := nextval('instance_id_seq');
    INSERT INTO change (id, kind, study_uid, series_uid, sop_uid, detail)
    VALUES (v_id, p_kind, p_study, p_series, p_sop, p_detail);
    RETURN v_id;
END $$;

CREATE FUNCTION deletion_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM add_change(CASE TG_OP WHEN 'INSERT' THEN 'deleted' ELSE 'undone' END, NEW.study_uid, NEW.series_uid,
                       NEW.sop_uid, jsonb_build_object('deletion', NEW.id, 'instances', cardinality(NEW.instances)));
    RETURN NULL;
END $$;
CREATE TRIGGER deletion_told AFTER INSERT ON deletion FOR EACH ROW EXECUTE FUNCTION deletion_changed();
CREATE TRIGGER deletion_undo_told AFTER UPDATE OF ended ON deletion
    FOR EACH ROW WHEN (OLD.ended = '' AND NEW.ended = 'undone') EXECUTE FUNCTION deletion_changed();

-- Tells which series and studies have not changed for one of `p_seconds`. At most `p_most` events are read at a time.
CREATE FUNCTION watch_quiet(p_seconds integer[], p_most integer) RETURNS void LANGUAGE plpgsql AS $$
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
    UPDATE change_cursor SET id = v_to WHERE name = 'quiet';
    WITH quiet AS (
        DELETE FROM quiet_watch WHERE changed_at < now() - make_interval(secs => seconds) RETURNING *
    )
    SELECT count(add_change(CASE q.series_uid WHEN '' THEN 'study-quiet' ELSE 'series-quiet' END, q.study_uid,
                            q.series_uid, '', jsonb_build_object('seconds', q.seconds))) INTO v_from
      FROM quiet q JOIN study s ON s.uid = q.study_uid AND s.instance_count > 0;
END $$;
