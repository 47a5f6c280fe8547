-- Storage commitment asked for what a job sent (PS3.4 J, PS3.18 13, as its user), and performed procedure steps told to
-- others: see app/catalog/queue.py. A job that wants commitment goes on when everything was sent: it is to be asked for
-- (phase 1), then its report is awaited until `due_at` (phase 2); what is not committed is sent again.
ALTER TABLE job
    ADD COLUMN phase smallint NOT NULL DEFAULT 0,
    ADD COLUMN transaction_uid text COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN asked_at timestamptz,
    ADD COLUMN committed integer NOT NULL DEFAULT 0,
    ADD COLUMN step_uid text COLLATE "C" NOT NULL DEFAULT '';
COMMENT ON COLUMN job.phase IS '0 sends, 1 storage commitment is to be asked for, 2 its report is awaited';
COMMENT ON COLUMN job.transaction_uid IS 'of the last request for storage commitment';
COMMENT ON COLUMN job.step_uid IS 'of the performed procedure step whose message this job tells; its instances are none';
COMMENT ON COLUMN job_instance.state IS
    '0 not there yet, 1 the receipt of the destination names it, 2 refused for good, 3 committed';
DROP INDEX job_order;
CREATE INDEX job_order ON job (order_key, id) WHERE order_key <> '' AND state <> 2;
CREATE INDEX job_step ON job (step_uid, id) WHERE step_uid <> '';

CREATE TABLE asked_commitment (
    uid text COLLATE "C" PRIMARY KEY,
    job_id bigint NOT NULL REFERENCES job ON DELETE CASCADE,
    last_at integer NOT NULL,
    asked_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN asked_commitment.last_at IS 'the request names instances of the job up to this one';
CREATE INDEX asked_commitment_job ON asked_commitment (job_id);

CREATE TABLE job_message (
    job_id bigint PRIMARY KEY REFERENCES job ON DELETE CASCADE,
    operation text COLLATE "C" NOT NULL,
    body bytea NOT NULL
);
COMMENT ON COLUMN job_message.operation IS '`create` or `update` (N-CREATE, N-SET)';

-- As in 0006; messages of a performed procedure step also wait for those before them that failed.
CREATE OR REPLACE FUNCTION claim_job(p_queue text, p_lease text, p_seconds float8, p_each integer) RETURNS SETOF job
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE job SET state = CASE WHEN phase = 0 AND tries >= most_tries THEN 3 ELSE 0 END, lease = '',
                   tries = CASE WHEN phase = 0 THEN tries ELSE tries - 1 END, leased_until = NULL,
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
                       SELECT FROM job e WHERE e.order_key = w.order_key AND e.order_key <> '' AND e.state <> 2
                           AND e.id < w.id AND (e.state < 2 OR (e.state = 3 AND w.step_uid <> ''))))
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

-- When a job that failed is tried again: pauses grow.
CREATE FUNCTION next_try(p_pause float8, p_tries integer) RETURNS timestamptz LANGUAGE sql VOLATILE AS $$
    SELECT now() + make_interval(secs => least(p_pause * 2 ^ greatest(p_tries - 1, 0), 600) * (0.8 + 0.4 * random()))
$$;

-- What a report of storage commitment says (PS3.4 J.3.3), of the last request of its job or of an older one: `p_good`
-- are committed, `p_bad` are not for `p_reasons`, and neither are those that it does not name; they are sent again,
-- as long as there are tries. The state of the job then; NULL for a transaction that nobody asked for.
CREATE FUNCTION settle_commitment(
    p_uid text, p_good text[], p_bad text[], p_reasons integer[], p_reason text, p_pause float8
) RETURNS smallint LANGUAGE plpgsql AS $$
DECLARE
    a asked_commitment;
    j job;
    v_is_last boolean;
    v_open integer;
    v_sent integer;
BEGIN
    SELECT * INTO a FROM asked_commitment WHERE uid = p_uid;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    SELECT * INTO j FROM job WHERE id = a.job_id FOR UPDATE;
    IF j.state > 1 THEN
        RETURN j.state;
    END IF;
    v_is_last := j.transaction_uid = p_uid AND j.phase > 0;
    UPDATE job_instance i SET state = 3, status = 0, reason = '' FROM unnest(p_good) AS good (uid)
     WHERE i.job_id = j.id AND i.at <= a.last_at AND i.state IN (0, 1) AND i.sop_uid = good.uid;
    IF v_is_last THEN
        UPDATE job_instance i SET state = 0, status = bad.reason, reason = 'the destination does not commit to it'
          FROM unnest(p_bad, p_reasons) AS bad (uid, reason)
         WHERE i.job_id = j.id AND i.at <= a.last_at AND i.state = 1 AND i.sop_uid = bad.uid;
        UPDATE job_instance i SET state = 0, status = 0, reason = p_reason
         WHERE i.job_id = j.id AND i.at <= a.last_at AND i.state = 1;
    END IF;
    SELECT count(*) FILTER (WHERE state IN (1, 3)), count(*) FILTER (WHERE state = 3),
           count(*) FILTER (WHERE state = 0), count(*) FILTER (WHERE state = 1)
      INTO j.done, j.committed, v_open, v_sent FROM job_instance WHERE job_id = j.id;
    IF v_is_last OR v_open + v_sent = 0 THEN
        j.tries := j.tries - CASE WHEN j.phase > 0 AND j.state = 1 THEN 1 ELSE 0 END;
        j.phase := CASE WHEN v_open = 0 AND v_sent > 0 THEN 1 ELSE 0 END;
        j.due_at := CASE WHEN v_open > 0 THEN next_try(p_pause, j.tries) ELSE now() END;
        j.reason := CASE WHEN v_open > 0 THEN format('%s instances are not committed', v_open) ELSE '' END;
        j.state := CASE WHEN v_open > 0 AND j.tries >= j.most_tries THEN 3 WHEN v_open + v_sent > 0 THEN 0
                        WHEN j.failed > 0 THEN 3 ELSE 2 END;
        j.lease := '';
        j.leased_until := NULL;
    END IF;
    UPDATE job SET state = j.state, phase = j.phase, tries = j.tries, due_at = j.due_at, reason = j.reason,
                   lease = j.lease, leased_until = j.leased_until, done = j.done, committed = j.committed,
                   updated_at = now()
     WHERE id = j.id;
    IF j.state = 0 THEN
        PERFORM pg_notify('fileroom_queue', j.queue);
    END IF;
    RETURN j.state;
END $$;

-- Ends the work of a lease. `p_outcome`: `ended` everything was tried; `more` there was no time or no place for the
-- rest, which counts as no try; `again` something failed that may succeed later; `unreachable` the destination takes
-- nothing now, which counts as no try for `p_days`; `failed` for good; `asked` storage commitment was asked for, and a
-- report may come for `p_patience` seconds. The new state, NULL when the lease is gone.
DROP FUNCTION end_job(text, text, text, float8, float8);
CREATE FUNCTION end_job(
    p_lease text, p_outcome text, p_reason text, p_pause float8, p_days float8, p_patience float8
) RETURNS smallint LANGUAGE plpgsql AS $$
DECLARE
    j job;
    v_open boolean;
BEGIN
    SELECT * INTO j FROM job WHERE lease = p_lease AND state = 1 FOR UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    v_open := EXISTS (SELECT FROM job_instance i WHERE i.job_id = j.id AND i.state = 0);
    j.due_at := now();
    IF p_outcome = 'asked' THEN
        j.state := 0;
        j.tries := j.tries - 1;
        j.asked_at := CASE WHEN j.phase = 2 THEN j.asked_at ELSE now() END;
        j.phase := 2;
        j.due_at := j.asked_at + make_interval(secs => p_patience);
        IF j.queue = 'stow' THEN  -- its worker looks for the result itself, seldom and seldomer
            j.due_at := least(greatest(j.due_at, now() + interval '1 s'),
                              now() + least(greatest((now() - j.asked_at) / 4, make_interval(secs => p_pause)),
                                            interval '1 min'));
        END IF;
    ELSIF p_outcome = 'ended' AND NOT v_open THEN
        IF (j.payload->>'commit')::boolean
           AND EXISTS (SELECT FROM job_instance i WHERE i.job_id = j.id AND i.state = 1) THEN
            j.state := 0;
            j.phase := 1;
        ELSE
            j.state := CASE WHEN j.failed > 0 THEN 3 ELSE 2 END;
        END IF;
    ELSIF p_outcome = 'failed' THEN
        j.state := 3;
    ELSIF p_outcome IN ('more', 'unreachable') THEN
        j.state := CASE WHEN coalesce(j.retried_at, j.created_at) < now() - make_interval(secs => p_days * 86400)
                        THEN 3 ELSE 0 END;
        j.tries := j.tries - 1;
    ELSE
        j.state := CASE WHEN j.tries >= j.most_tries THEN 3 ELSE 0 END;
        j.due_at := next_try(p_pause, j.tries);
    END IF;
    IF p_outcome = 'unreachable' THEN
        INSERT INTO job_rest (queue, destination, until)
        VALUES (j.queue, j.destination, now() + make_interval(secs => p_pause))
            ON CONFLICT (queue, destination) DO UPDATE SET failures = job_rest.failures + 1,
               until = now() + make_interval(secs => least(p_pause * 2 ^ least(job_rest.failures, 20), 300));
    ELSE
        DELETE FROM job_rest WHERE queue = j.queue AND destination = j.destination;
    END IF;
    UPDATE job SET state = j.state, phase = j.phase, asked_at = j.asked_at, tries = j.tries, due_at = j.due_at,
                   lease = '', leased_until = NULL, reason = p_reason, updated_at = now()
     WHERE id = j.id;
    IF j.state = 3 AND j.step_uid <> '' THEN
        UPDATE job SET reason = format('waits for transfer %s, which failed', j.id), updated_at = now()
         WHERE order_key = j.order_key AND order_key <> '' AND id > j.id AND state = 0;
    END IF;
    IF j.state = 0 OR j.order_key <> '' THEN
        PERFORM pg_notify('fileroom_queue', j.queue);
    END IF;
    RETURN j.state;
END $$;
