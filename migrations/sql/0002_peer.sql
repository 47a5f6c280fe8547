CREATE TABLE peer (
    aet text COLLATE "C" PRIMARY KEY,
    json jsonb NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN peer.json IS 'what app.dicom.peer.Peer.from_json reads';
