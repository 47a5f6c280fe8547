CREATE TABLE worklist_item (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key text COLLATE "C" NOT NULL,
    state smallint NOT NULL DEFAULT 0,
    hidden_at timestamptz,
    station_aets text[] COLLATE "C" NOT NULL DEFAULT '{}',
    station_names text[] COLLATE "C" NOT NULL DEFAULT '{}',
    modality text COLLATE "C" NOT NULL DEFAULT '',
    step_id text COLLATE "C" NOT NULL DEFAULT '',
    step_date text COLLATE "C" NOT NULL DEFAULT '',
    step_time text COLLATE "C" NOT NULL DEFAULT '',
    step_location text COLLATE "C" NOT NULL DEFAULT '',
    performing_physician_name text COLLATE "C" NOT NULL DEFAULT '',
    study_uid text COLLATE "C" NOT NULL,
    procedure_id text COLLATE "C" NOT NULL DEFAULT '',
    procedure_description text COLLATE "C" NOT NULL DEFAULT '',
    accession_number text COLLATE "C" NOT NULL DEFAULT '',
    referring_physician_name text COLLATE "C" NOT NULL DEFAULT '',
    patient_id text COLLATE "C" NOT NULL DEFAULT '',
    issuer_of_patient_id text COLLATE "C" NOT NULL DEFAULT '',
    patient_name text COLLATE "C" NOT NULL DEFAULT '',
    placer_order text COLLATE "C" NOT NULL DEFAULT '',
    filler_order text COLLATE "C" NOT NULL DEFAULT '',
    source text NOT NULL DEFAULT '',
    performed_uid text COLLATE "C" NOT NULL DEFAULT '',
    json bytea NOT NULL,
    extra bytea NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX worklist_item_key ON worklist_item (key);
CREATE INDEX worklist_item_start ON worklist_item (step_date, step_time, id);
CREATE INDEX worklist_item_stations ON worklist_item USING gin (station_aets);
CREATE INDEX worklist_item_study ON worklist_item (study_uid);
CREATE INDEX worklist_item_patient ON worklist_item (patient_id);
CREATE INDEX worklist_item_accession ON worklist_item (accession_number) WHERE accession_number <> '';
CREATE INDEX worklist_item_placer ON worklist_item (placer_order) WHERE placer_order <> '';
CREATE INDEX worklist_item_filler ON worklist_item (filler_order) WHERE filler_order <> '';
CREATE INDEX worklist_item_open ON worklist_item (id) WHERE state < 2;
COMMENT ON COLUMN worklist_item.key IS 'names the item in its address';
COMMENT ON COLUMN worklist_item.state IS '0 scheduled, 1 in progress, 2 completed, 3 discontinued, 4 cancelled';
COMMENT ON COLUMN worklist_item.hidden_at IS 'from when on no search finds it; never when it is null';
COMMENT ON COLUMN worklist_item.source IS 'who brought it: rest, hl7, file';
COMMENT ON COLUMN worklist_item.json IS 'members of the DICOM JSON object that every search returns, without braces';
COMMENT ON COLUMN worklist_item.extra IS 'its other members, without braces';

CREATE TABLE hl7_message (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received_at timestamptz NOT NULL DEFAULT now(),
    sender text NOT NULL DEFAULT '',
    kind text NOT NULL DEFAULT '',
    control_id text NOT NULL DEFAULT '',
    message bytea NOT NULL,
    acknowledged text NOT NULL DEFAULT '',
    reason text NOT NULL DEFAULT '',
    replayed_at timestamptz
);
CREATE INDEX hl7_message_received ON hl7_message (received_at);
COMMENT ON COLUMN hl7_message.message IS 'as it came, without its MLLP frame';
COMMENT ON COLUMN hl7_message.acknowledged IS 'AA, AE or AR; empty while it is under way';
