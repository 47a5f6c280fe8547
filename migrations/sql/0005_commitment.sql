-- Storage commitment: see app/catalog/commitments.py. Whoever works on a request or delivers a report holds it by a
-- lease that runs out by itself.
CREATE TABLE commitment (
    uid text COLLATE "C" PRIMARY KEY,
    requester text COLLATE "C" NOT NULL DEFAULT '',
    called text COLLATE "C" NOT NULL DEFAULT '',
    sop_classes text[] COLLATE "C" NOT NULL,
    sop_uids text[] COLLATE "C" NOT NULL,
    places text[] COLLATE "C" NOT NULL DEFAULT '{}',
    result bytea,
    look_at timestamptz,
    until timestamptz NOT NULL,
    report_at timestamptz,
    reported_at timestamptz,
    tries integer NOT NULL DEFAULT 0,
    reason text NOT NULL DEFAULT '',
    lease text COLLATE "C" NOT NULL DEFAULT '',
    leased_until timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    done_at timestamptz
);
COMMENT ON COLUMN commitment.requester IS 'AE title of the peer that asked; empty: asked by HTTP';
COMMENT ON COLUMN commitment.places IS 'study UID/series UID of each instance, when it was referenced by study';
COMMENT ON COLUMN commitment.result IS 'DICOM JSON (PS3.18 J.2); null while it is worked on';
COMMENT ON COLUMN commitment.look_at IS 'when the instances are looked for next; null: done';
COMMENT ON COLUMN commitment.until IS 'when instances that have not come are given up';
COMMENT ON COLUMN commitment.report_at IS 'when the peer is told next; null: nobody is to be told any more';
CREATE INDEX commitment_look ON commitment (look_at) WHERE look_at IS NOT NULL;
CREATE INDEX commitment_report ON commitment (report_at) WHERE report_at IS NOT NULL;
