-- The catalog. A row of `instance` is one version of one instance; the current version of a visible instance has
-- state 0, and an instance is visible exactly when it has one. Text that is compared by bytes is COLLATE "C".
CREATE EXTENSION IF NOT EXISTS pg_trgm;

CREATE TABLE study (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uid text COLLATE "C" NOT NULL,
    patient_id text COLLATE "C" NOT NULL DEFAULT '',
    issuer_of_patient_id text COLLATE "C" NOT NULL DEFAULT '',
    patient_name text COLLATE "C" NOT NULL DEFAULT '',
    patient_birth_date text COLLATE "C" NOT NULL DEFAULT '',
    patient_sex text COLLATE "C" NOT NULL DEFAULT '',
    study_date text COLLATE "C" NOT NULL DEFAULT '',
    study_time text COLLATE "C" NOT NULL DEFAULT '',
    accession_number text COLLATE "C" NOT NULL DEFAULT '',
    referring_physician_name text COLLATE "C" NOT NULL DEFAULT '',
    study_description text COLLATE "C" NOT NULL DEFAULT '',
    study_id_text text COLLATE "C" NOT NULL DEFAULT '',
    modalities text[] COLLATE "C" NOT NULL DEFAULT '{}',
    sop_classes text[] COLLATE "C" NOT NULL DEFAULT '{}',
    series_count integer NOT NULL DEFAULT 0,
    instance_count integer NOT NULL DEFAULT 0,
    revision bigint NOT NULL DEFAULT 0,
    json bytea NOT NULL DEFAULT '',
    json_hash bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 70);
COMMENT ON COLUMN study.patient_name IS 'folded for matching: see app.dicom.names.search_key';
COMMENT ON COLUMN study.json IS 'members of the DICOM JSON object at patient and study level, without braces';
CREATE UNIQUE INDEX study_uid ON study (uid);
CREATE INDEX study_newest ON study (study_date DESC, study_time DESC, id DESC);
CREATE INDEX study_patient_id ON study (patient_id);
CREATE INDEX study_accession_number ON study (accession_number) WHERE accession_number <> '';
CREATE INDEX study_patient_name ON study USING gin (patient_name gin_trgm_ops);
CREATE INDEX study_description ON study USING gin (study_description gin_trgm_ops);

CREATE TABLE series (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    study_id bigint NOT NULL REFERENCES study,
    uid text COLLATE "C" NOT NULL,
    modality text COLLATE "C" NOT NULL DEFAULT '',
    series_number bigint,
    series_description text COLLATE "C" NOT NULL DEFAULT '',
    step_start_date text COLLATE "C" NOT NULL DEFAULT '',
    step_start_time text COLLATE "C" NOT NULL DEFAULT '',
    sop_classes text[] COLLATE "C" NOT NULL DEFAULT '{}',
    instance_count integer NOT NULL DEFAULT 0,
    revision bigint NOT NULL DEFAULT 0,
    json bytea NOT NULL DEFAULT '',
    attributes jsonb NOT NULL DEFAULT '{}',
    json_hash bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 70);
COMMENT ON COLUMN series.attributes IS
    'value sets of every study and series attribute, {"<tag path>": ["value", ...]}; every value that any instance had';
CREATE UNIQUE INDEX series_uid ON series (study_id, uid);
CREATE INDEX series_uid_alone ON series (uid);
CREATE INDEX series_attributes ON series USING gin (attributes jsonb_path_ops);

CREATE TABLE instance (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    series_id bigint NOT NULL,
    uid text COLLATE "C" NOT NULL,
    version text COLLATE "C" NOT NULL,
    state smallint NOT NULL DEFAULT 0,
    sop_class text COLLATE "C" NOT NULL,
    transfer_syntax text COLLATE "C" NOT NULL,
    instance_number bigint,
    length bigint NOT NULL,
    dataset_offset integer NOT NULL,
    digest bytea NOT NULL,
    digest_meta bytea NOT NULL,
    frame_kind smallint NOT NULL DEFAULT 0,
    frame_count integer NOT NULL DEFAULT 0,
    frame_word smallint NOT NULL DEFAULT 1,
    frame_bits bigint NOT NULL DEFAULT 0,
    pixel_offset bigint NOT NULL DEFAULT 0,
    pixel_length bigint NOT NULL DEFAULT 0,
    pixel_tag integer NOT NULL DEFAULT 0,
    head bytea NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN instance.state IS '0 current and visible, 1 superseded by a newer version, 2 kept aside, 3 deleted';
COMMENT ON COLUMN instance.frame_kind IS '0 none, 1 native, 2 encapsulated';
COMMENT ON COLUMN instance.head IS 'members of the DICOM JSON object that a search for instances returns by default';
CREATE UNIQUE INDEX instance_current ON instance (uid, series_id) WHERE state = 0;
CREATE INDEX instance_series ON instance (series_id);

CREATE TABLE instance_data (
    instance_id bigint PRIMARY KEY,
    json bytea NOT NULL,
    frames bytea NOT NULL DEFAULT '',
    checks bytea NOT NULL DEFAULT '',
    bulk bytea NOT NULL DEFAULT ''
);
COMMENT ON COLUMN instance_data.json IS 'the whole data set as DICOM JSON, zlib; BulkDataURIs begin with U+0001';
COMMENT ON COLUMN instance_data.frames IS '12 bytes a frame (offset u64, length u32, little endian) when encapsulated';
COMMENT ON COLUMN instance_data.checks IS 'xxh3-64, little endian, of each MiB of the file';
COMMENT ON COLUMN instance_data.bulk IS 'JSON: [[tag path, VR, offset, length], ...]';
ALTER TABLE instance_data ALTER COLUMN json SET STORAGE EXTERNAL;
ALTER TABLE instance_data ALTER COLUMN frames SET STORAGE EXTERNAL;
ALTER TABLE instance_data ALTER COLUMN checks SET STORAGE EXTERNAL;

CREATE TABLE conflict (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    kind text NOT NULL,
    study_uid text COLLATE "C" NOT NULL,
    series_uid text COLLATE "C" NOT NULL,
    sop_uid text COLLATE "C" NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}'
);
COMMENT ON COLUMN conflict.kind IS 'replaced, kept, rejected, elsewhere (same SOP Instance UID in another series), demographics';
CREATE INDEX conflict_study ON conflict (study_uid);

CREATE TABLE deletion (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    principal text NOT NULL,
    study_uid text COLLATE "C" NOT NULL,
    series_uid text COLLATE "C" NOT NULL DEFAULT '',
    sop_uid text COLLATE "C" NOT NULL DEFAULT '',
    instances bigint[] NOT NULL,
    purge_after timestamptz NOT NULL,
    ended text NOT NULL DEFAULT ''
);
COMMENT ON COLUMN deletion.ended IS 'empty while it can be undone; undone or purged afterwards';
CREATE INDEX deletion_open ON deletion (purge_after) WHERE ended = '';

CREATE TABLE orphan (
    key text COLLATE "C" PRIMARY KEY,
    first_seen timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE token (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    hash bytea NOT NULL UNIQUE,
    scopes text[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz,
    revoked_at timestamptz
);
