-- Jobs that have ended go after some time, and one that is tried again by hand keeps the time of its making.
ALTER TABLE job ADD COLUMN retried_at timestamptz;
COMMENT ON COLUMN job.retried_at IS 'when somebody had it done again: the days for an unreachable destination begin then';
CREATE INDEX job_ended ON job (updated_at) WHERE state > 1;

-- As in 0006, but days count from `retried_at`, when there is one.
CREATE OR REPLACE FUNCTION end_job(p_lease text, p_outcome text, p_reason text, p_pause float8, p_days float8) RETURNS smallint
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
        v_state := CASE WHEN coalesce(j.retried_at, j.created_at) < now() - make_interval(secs => p_days * 86400)
                        THEN 3 ELSE 0 END;
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
