-- SPDX-License-Identifier: Apache-2.0
--
-- What is no longer stored, so that an answer about that time can say so: by reason, how many events went, before
-- which time some are missing, and when the last of them went.
CREATE TABLE forgotten (
    reason TEXT    PRIMARY KEY,
    events INTEGER NOT NULL,
    before INTEGER NOT NULL,
    at     INTEGER NOT NULL
) WITHOUT ROWID;
