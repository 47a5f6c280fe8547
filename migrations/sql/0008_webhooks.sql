-- Who is told what happens by HTTP: see app/catalog/webhooks.py.
CREATE TABLE webhook (
    name text COLLATE "C" PRIMARY KEY,
    url text NOT NULL,
    kinds text[] NOT NULL DEFAULT '{}',
    secret text NOT NULL,
    state smallint NOT NULL DEFAULT 0,
    position bigint NOT NULL,
    due_at timestamptz NOT NULL DEFAULT now(),
    lease text COLLATE "C" NOT NULL DEFAULT '',
    batch text COLLATE "C" NOT NULL DEFAULT '',
    batch_end bigint NOT NULL DEFAULT 0,
    failures integer NOT NULL DEFAULT 0,
    failing_since timestamptz,
    last_at timestamptz,
    last_status integer NOT NULL DEFAULT 0,
    last_reason text NOT NULL DEFAULT '',
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN webhook.kinds IS 'of events; empty: all';
COMMENT ON COLUMN webhook.state IS '0 active, 1 paused, 2 set aside after days of failures, 3 the receiver answered 410';
COMMENT ON COLUMN webhook.position IS 'every event of the change feed up to here was delivered';
COMMENT ON COLUMN webhook.due_at IS 'when somebody may deliver; while there is a lease: when it ends';
COMMENT ON COLUMN webhook.batch IS 'id of the message under way, which stays the same however often it is sent';
COMMENT ON COLUMN webhook.batch_end IS 'the new position when it is delivered';
