-- As in 0004, in half the statements, each of which costs its start: the counts are raised first, which locks the study
-- too. What is no common case after all is told by SQLSTATE FR002, which takes the counts back: another content or no
-- content of that series yet, a class that is new to it, an instance that is there or may be refused.
CREATE OR REPLACE FUNCTION store_instance(p_study text, p_study_hash bigint, p_series text, p_series_hash bigint,
                                          p store_row)
RETURNS boolean LANGUAGE plpgsql SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_id bigint;
BEGIN
    UPDATE study SET instance_count = instance_count + 1, revision = revision + 1, updated_at = now()
     WHERE uid = p_study AND json_hash = p_study_hash
       -- What is sent again changes nothing, and needs no exception.
       AND NOT EXISTS (SELECT FROM instance WHERE uid = p.uid AND state = 0)
    RETURNING id INTO v_id;
    IF v_id IS NULL THEN
        RETURN false;
    END IF;
    UPDATE series SET instance_count = instance_count + 1, revision = revision + 1, updated_at = now()
     WHERE study_id = v_id AND uid = p_series AND json_hash = p_series_hash AND instance_count > 0
       AND p.sop_class = ANY (sop_classes)
    RETURNING id INTO v_id;
    -- As a statement of its own it sees what was stored while the study's lock was waited for.
    INSERT INTO instance (series_id, uid, version, state, sop_class, transfer_syntax, instance_number, length,
                          dataset_offset, digest, digest_meta, frame_kind, frame_count, frame_word, frame_bits,
                          pixel_offset, pixel_length, pixel_tag, head)
    SELECT v_id, p.uid, p.version, 0, p.sop_class, p.transfer_syntax, p.instance_number, p.length,
           p.dataset_offset, p.digest, p.digest_meta, p.frame_kind, p.frame_count, p.frame_word, p.frame_bits,
           p.pixel_offset, p.pixel_length, p.pixel_tag, p.head
     WHERE v_id IS NOT NULL AND NOT EXISTS (SELECT FROM instance WHERE uid = p.uid AND state = 0)
       AND NOT EXISTS (SELECT FROM refused_instance WHERE sop_uid = p.uid)
    RETURNING id INTO v_id;
    IF v_id IS NULL THEN
        RAISE EXCEPTION 'no common case' USING ERRCODE = 'FR002';
    END IF;
    INSERT INTO instance_data (instance_id, json, frames, checks, bulk)
    VALUES (v_id, p.json, p.frames, p.checks, p.bulk);
    RETURN true;
END $$;
