-- Prefetch of priors (app/catalog/prefetch.py): rules, worklist items that they are to be asked about, and what came of
-- them. Whoever writes an item leaves word of it in the same transaction, so that no item is missed.
CREATE TABLE prefetch_rule (
    name text COLLATE "C" PRIMARY KEY,
    json jsonb NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN prefetch_rule.json IS 'what app.archive.prefetch_rules.PrefetchRule.from_json reads';

CREATE TABLE prefetch_look (
    item_id bigint PRIMARY KEY REFERENCES worklist_item ON DELETE CASCADE,
    look_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX prefetch_look_at ON prefetch_look (look_at);

CREATE TABLE prefetch_made (
    rule text COLLATE "C" NOT NULL,
    about text COLLATE "C" NOT NULL,
    made_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (rule, about)
);
COMMENT ON COLUMN prefetch_made.about IS 'hash of patient, study and what else decides which priors are wanted';

CREATE FUNCTION worklist_item_came() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO prefetch_look (item_id) VALUES (NEW.id) ON CONFLICT (item_id) DO UPDATE SET look_at = now();
    RETURN NULL;
END $$;
CREATE TRIGGER worklist_item_came AFTER INSERT ON worklist_item FOR EACH ROW EXECUTE FUNCTION worklist_item_came();
CREATE TRIGGER worklist_item_changed AFTER UPDATE OF json, extra ON worklist_item FOR EACH ROW
    WHEN (OLD.json <> NEW.json OR OLD.extra <> NEW.extra OR OLD.step_date <> NEW.step_date
          OR OLD.step_time <> NEW.step_time OR OLD.modality <> NEW.modality)
    EXECUTE FUNCTION worklist_item_came();
