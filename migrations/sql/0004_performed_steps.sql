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

-- At the commit of a store: what a step refused is hidden before anybody could see it. Counts are made anew, so the
-- statement that stored it need not know.
CREATE FUNCTION hide_refused() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    v_study bigint;
    r refused_instance;
BEGIN
    IF NOT EXISTS (SELECT FROM refused_instance WHERE sop_uid = NEW.uid) THEN
        RETURN NULL;
    END IF;
    SELECT f.* INTO r FROM refused_instance f JOIN series s ON s.uid = f.series_uid
     WHERE f.sop_uid = NEW.uid AND s.id = NEW.series_id LIMIT 1;
    IF NOT FOUND OR NOT EXISTS (SELECT FROM instance WHERE id = NEW.id AND state = 0) THEN
        RETURN NULL;
    END IF;
    SELECT study_id INTO v_study FROM series WHERE id = NEW.series_id;
    PERFORM hide_versions(r.step_uid, v_study, ARRAY[NEW.id], r.undo_hours);
    INSERT INTO hidden_arrival VALUES (NEW.id) ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER instance_refused AFTER INSERT ON instance DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.state = 0) EXECUTE FUNCTION hide_refused();

-- Whoever undoes such a deletion wants the images: nothing of the step is refused any more.
CREATE FUNCTION accept_again() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM refused_instance WHERE step_uid = substr(NEW.principal, 6);
    RETURN NULL;
END $$;
CREATE TRIGGER deletion_undone AFTER UPDATE OF ended ON deletion
    FOR EACH ROW WHEN (NEW.ended = 'undone' AND NEW.principal LIKE 'mpps %') EXECUTE FUNCTION accept_again();
