-- One durable queue of what is sent to others: see app/catalog/queue.py. A worker holds a job by a lease that it must
-- renew; whoever asks for work takes back the jobs whose leases ran out.
CREATE TABLE destination (
    name text COLLATE "C" PRIMARY KEY,
    json jsonb NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN destination.json IS 'what app.dicom.destination.Destination.from_json reads, with the token';

CREATE TABLE job (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    queue text COLLATE "C" NOT NULL,
    destination text COLLATE "C" NOT NULL,
    order_key text COLLATE "C" NOT NULL DEFAULT '',
    state smallint NOT NULL DEFAULT 0,
    tries integer NOT NULL DEFAULT 0,
    most_tries integer NOT NULL,
    due_at timestamptz NOT NULL DEFAULT now(),
    lease text COLLATE "C" NOT NULL DEFAULT '',
    leased_until timestamptz,
    origin text NOT NULL,
    reason text NOT NULL DEFAULT '',
    payload jsonb NOT NULL DEFAULT '{}',
    total integer NOT NULL DEFAULT 0,
    done integer NOT NULL DEFAULT 0,
    failed integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN job.queue IS 'who does it: `stow` the job process, `dimse` a bridge';
COMMENT ON COLUMN job.state IS '0 waiting, 1 active, 2 succeeded, 3 failed and set aside, 4 cancelled';
COMMENT ON COLUMN job.order_key IS 'jobs with the same one are done in the order of their ids; empty: in any order';
CREATE INDEX job_waiting ON job (queue, destination, due_at, id) WHERE state = 0;
CREATE INDEX job_active ON job (queue, destination) WHERE state = 1;
CREATE INDEX job_lease ON job (lease) WHERE state = 1;
CREATE INDEX job_order ON job (order_key, id) WHERE order_key <> '' AND state < 2;

CREATE TABLE job_instance (
    job_id bigint NOT NULL REFERENCES job ON DELETE CASCADE,
    at integer NOT NULL,
    study_uid text COLLATE "C" NOT NULL,
    series_uid text COLLATE "C" NOT NULL,
    sop_uid text COLLATE "C" NOT NULL,
    state smallint NOT NULL DEFAULT 0,
    status integer NOT NULL DEFAULT 0,
    reason text NOT NULL DEFAULT '',
    PRIMARY KEY (job_id, at)
);
COMMENT ON COLUMN job_instance.state IS '0 not there yet, 1 the receipt of the destination names it, 2 refused for good';

CREATE TABLE job_rest (
    queue text COLLATE "C" NOT NULL,
    destination text COLLATE "C" NOT NULL,
    until timestamptz NOT NULL,
    failures integer NOT NULL DEFAULT 1,
    PRIMARY KEY (queue, destination)
);

-- Gives one job that is due to the worker that will renew `p_lease` within `p_seconds`; no row when there is none. At
-- most `p_each` jobs of a destination are active, and one of a destination that could not be reached lately.
CREATE FUNCTION claim_job(p_queue text, p_lease text, p_seconds float8, p_each integer) RETURNS SETOF job
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE job SET state = CASE WHEN tries >= most_tries THEN 3 ELSE 0 END, lease = '', leased_until = NULL,
                   due_at = now(), reason = 'its worker ended in the middle', updated_at = now()
     WHERE id IN (SELECT id FROM job WHERE queue = p_queue AND state = 1 AND leased_until < now()
                     FOR UPDATE SKIP LOCKED);
    RETURN QUERY
    WITH RECURSIVE place AS (
        (SELECT w.destination FROM job w WHERE w.queue = p_queue AND w.state = 0 ORDER BY w.destination LIMIT 1)
        UNION ALL
        SELECT (SELECT w.destination FROM job w
                 WHERE w.queue = p_queue AND w.state = 0 AND w.destination > place.destination
                 ORDER BY w.destination LIMIT 1)
          FROM place WHERE place.destination IS NOT NULL
    ), open AS (
        SELECT place.destination FROM place
          LEFT JOIN job_rest r ON r.queue = p_queue AND r.destination = place.destination
         WHERE place.destination IS NOT NULL AND coalesce(r.until <= now(), true)
           AND (SELECT count(*) FROM job a
                 WHERE a.queue = p_queue AND a.destination = place.destination AND a.state = 1)
               < CASE WHEN r.until IS NULL THEN p_each ELSE 1 END
    ), candidate AS (
        SELECT c.id FROM open CROSS JOIN LATERAL (
            SELECT w.id FROM job w
             WHERE w.queue = p_queue AND w.destination = open.destination AND w.state = 0 AND w.due_at <= now()
               AND (w.order_key = '' OR NOT EXISTS (
                       SELECT FROM job e WHERE e.order_key = w.order_key AND e.state < 2 AND e.id < w.id))
             ORDER BY w.due_at, w.id LIMIT 8) AS c
    ), chosen AS (
        SELECT w.id FROM job w WHERE w.id IN (SELECT candidate.id FROM candidate) AND w.state = 0
         ORDER BY w.due_at, w.id LIMIT 1 FOR UPDATE SKIP LOCKED
    )
    UPDATE job SET state = 1, lease = p_lease, leased_until = now() + make_interval(secs => p_seconds),
                   tries = job.tries + 1, updated_at = now()
      FROM chosen WHERE job.id = chosen.id
    RETURNING job.*;
END $$;

-- Ends the work of a lease. `p_outcome`: `ended` everything was tried; `more` there was no time or no place for the
-- rest, which counts as no try; `again` something failed that may succeed later; `unreachable` the destination takes
-- nothing now, which counts as no try for `p_days`; `failed` for good. The new state, NULL when the lease is gone.
CREATE FUNCTION end_job(p_lease text, p_outcome text, p_reason text, p_pause float8, p_days float8) RETURNS smallint
LANGUAGE plpgsql AS $$
DECLARE
    j job;
    v_open boolean;
    v_state smallint;
    v_due timestamptz := now();
BEGIN
    SELECT * INTO j FROM job WHERE lease = p_lease AND state = 1 FOR UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    v_open := EXISTS (SELECT FROM job_instance i WHERE i.job_id = j.id AND i.state = 0);
    IF p_outcome = 'ended' AND NOT v_open THEN
        v_state := CASE WHEN j.failed > 0 THEN 3 ELSE 2 END;
    ELSIF p_outcome = 'failed' THEN
        v_state := 3;
    ELSIF p_outcome IN ('more', 'unreachable') THEN
        v_state := CASE WHEN j.created_at < now() - make_interval(secs => p_days * 86400) THEN 3 ELSE 0 END;
        j.tries := j.tries - 1;
    ELSE
        v_state := CASE WHEN j.tries >= j.most_tries THEN 3 ELSE 0 END;
        v_due := now() + make_interval(secs => least(p_pause * 2 ^ (j.tries - 1), 600) * (0.8 + 0.4 * random()));
    END IF;
    IF p_outcome = 'unreachable' THEN
        INSERT INTO job_rest (queue, destination, until)
        VALUES (j.queue, j.destination, now() + make_interval(secs => p_pause))
            ON CONFLICT (queue, destination) DO UPDATE SET failures = job_rest.failures + 1,
               until = now() + make_interval(secs => least(p_pause * 2 ^ least(job_rest.failures, 20), 300));
    ELSE
        DELETE FROM job_rest WHERE queue = j.queue AND destination = j.destination;
    END IF;
    UPDATE job SET state = v_state, tries = j.tries, due_at = v_due, lease = '', leased_until = NULL,
                   reason = p_reason, updated_at = now()
     WHERE id = j.id;
    IF v_state = 0 THEN
        PERFORM pg_notify('fileroom_queue', j.queue);
    END IF;
    RETURN v_state;
END $$;

-- Writes down what became of instances of a lease (JSON: [[at, state, status, reason], ...]) and renews it; whether it
-- still stands.
CREATE FUNCTION report_job(p_lease text, p_seconds float8, p_told jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_id bigint;
BEGIN
    UPDATE job SET leased_until = now() + make_interval(secs => p_seconds) WHERE lease = p_lease AND state = 1
    RETURNING id INTO v_id;
    IF v_id IS NULL THEN
        RETURN false;
    END IF;
    IF jsonb_array_length(p_told) > 0 THEN
        WITH told AS (
            SELECT (t->>0)::integer AS at, (t->>1)::smallint AS state, (t->>2)::integer AS status, t->>3 AS reason
              FROM jsonb_array_elements(p_told) AS t
        ), changed AS (
            UPDATE job_instance i SET state = told.state, status = told.status, reason = told.reason
              FROM told WHERE i.job_id = v_id AND i.at = told.at AND i.state = 0
            RETURNING i.state
        )
        UPDATE job SET done = done + (SELECT count(*) FROM changed WHERE state = 1),
                       failed = failed + (SELECT count(*) FROM changed WHERE state = 2), updated_at = now()
         WHERE id = v_id;
    END IF;
    RETURN true;
END $$;
