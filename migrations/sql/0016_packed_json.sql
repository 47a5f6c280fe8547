-- See app/archive/packed_json.py. What is packed already is not tried to be packed again, and stays in its row up to 8 kB:
-- kept apart, it costs further rows and entries of an index for each instance.
COMMENT ON COLUMN instance_data.json IS 'the whole data set as DICOM JSON, packed; BulkDataURIs begin with U+0001';
ALTER TABLE instance_data ALTER COLUMN json SET STORAGE EXTERNAL;
ALTER TABLE instance_data SET (toast_tuple_target = 8160);
