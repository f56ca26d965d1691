//! Opening the database, and transactions.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::Error;

/// The number of what `schema.sql` says: another number with every change of it. State lives no
/// longer than a boot, so another layout is refused instead of being converted.
pub(super) const LAYOUT: i64 = 4;

/// How long a process waits for another one's transaction.
const PATIENCE: Duration = Duration::from_secs(20);

/// The open database of one world.
pub struct Store {
    pub(super) db: Connection,
    pub(super) path: PathBuf,
    /// The database was made just now.
    pub fresh: bool,
    /// Whose changes are noted, if they are.
    pub(super) who: Option<String>,
}

impl Store {
    /// Opens `DIR/state.db`, making directory and database if they are missing.
    ///
    /// # Errors
    /// When the directory cannot be made, or the file is no database of ours, or of another layout.
    pub fn open(dir: &Path, boot: &str) -> Result<Self, Error> {
        let path = dir.join("state.db");
        let mut store = Self::connect(&path)?;
        if store.layout()? == 0 {
            store.fresh = store.create(boot)?;
        }
        let (path, found, known) = (path.display().to_string(), store.layout()?, LAYOUT);
        match found.cmp(&known) {
            Ordering::Equal => Ok(store),
            Ordering::Greater => Err(Error::Newer { path, found, known }),
            Ordering::Less => Err(Error::Older { path, found, known }),
        }
    }

    fn connect(path: &Path) -> Result<Self, Error> {
        let fail = |source| Error::Database {
            path: path.display().to_string(),
            source,
        };
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let db = Connection::open_with_flags(path, flags).map_err(fail)?;
        db.busy_timeout(PATIENCE).map_err(fail)?;
        into_wal(&db).map_err(fail)?;
        db.execute_batch("PRAGMA synchronous=OFF; PRAGMA foreign_keys=ON;")
            .map_err(fail)?;
        Ok(Self {
            db,
            path: path.to_owned(),
            fresh: false,
            who: None,
        })
    }

    fn layout(&self) -> Result<i64, Error> {
        self.db
            .query_row("PRAGMA user_version", [], |r| r.get(0))
            .map_err(|e| self.fail(e))
    }

    /// Many processes may be first at once: whoever gets the lock writes the tables. Whether
    /// it was this one.
    fn create(&self, boot: &str) -> Result<bool, Error> {
        let tx = rusqlite::Transaction::new_unchecked(&self.db, TransactionBehavior::Immediate)
            .map_err(|e| self.fail(e))?;
        let first = self.layout()? == 0;
        if first {
            tx.execute_batch(include_str!("schema.sql"))
                .map_err(|e| self.fail(e))?;
            tx.execute("INSERT INTO meta VALUES ('boot', ?1)", [boot])
                .map_err(|e| self.fail(e))?;
            tx.pragma_update(None, "user_version", LAYOUT)
                .map_err(|e| self.fail(e))?;
        }
        tx.commit().map_err(|e| self.fail(e))?;
        Ok(first)
    }

    pub(super) fn fail(&self, source: rusqlite::Error) -> Error {
        Error::Database {
            path: self.path.display().to_string(),
            source,
        }
    }

    #[allow(clippy::needless_pass_by_value)] // an error, or words
    pub(super) fn record(&self, detail: impl ToString) -> Error {
        Error::Record {
            path: self.path.display().to_string(),
            detail: detail.to_string(),
        }
    }

    /// Whether the database is whole: its pages, and that no row names one that is missing.
    ///
    /// # Errors
    /// [`Error::Record`] with what is wrong, or a database error.
    pub fn verify(&self) -> Result<(), Error> {
        let found: Vec<String> = self.rows("PRAGMA quick_check(1)", [], |r| r.get(0))?;
        if found != ["ok"] {
            return Err(self.record(found.join("; ")));
        }
        let tables: Vec<String> = self.rows("PRAGMA foreign_key_check", [], |r| r.get(0))?;
        match tables.first() {
            Some(table) => Err(self.record(format!("a row of `{table}` names one that is missing"))),
            None => Ok(()),
        }
    }

    /// Runs `f` as one transaction that no other process sees half of.
    ///
    /// # Errors
    /// What `f` returns (then nothing is changed), or a database error.
    pub fn write<T, E: From<Error>>(&self, f: impl FnOnce(&Self) -> Result<T, E>) -> Result<T, E> {
        let tx = rusqlite::Transaction::new_unchecked(&self.db, TransactionBehavior::Immediate)
            .map_err(|e| self.fail(e))?;
        let value = f(self)?;
        tx.commit().map_err(|e| self.fail(e))?;
        Ok(value)
    }

    /// Begins a transaction that [`Store::roll_back`] ends: for trying out what would happen.
    ///
    /// # Errors
    /// A database error.
    pub fn begin(&self) -> Result<(), Error> {
        self.db.execute_batch("BEGIN IMMEDIATE").map_err(|e| self.fail(e))
    }

    /// Forgets everything since [`Store::begin`].
    ///
    /// # Errors
    /// A database error.
    pub fn roll_back(&self) -> Result<(), Error> {
        self.db.execute_batch("ROLLBACK").map_err(|e| self.fail(e))
    }

    /// A value of the `meta` table.
    ///
    /// # Errors
    /// A database error.
    pub fn meta(&self, key: &str) -> Result<Option<String>, Error> {
        let mut q = self
            .db
            .prepare_cached("SELECT value FROM meta WHERE key=?1")
            .map_err(|e| self.fail(e))?;
        let mut rows = q.query([key]).map_err(|e| self.fail(e))?;
        rows.next()
            .and_then(|r| r.map(|r| r.get(0)).transpose())
            .map_err(|e| self.fail(e))
    }

    /// Sets or (with `None`) removes a value of the `meta` table.
    ///
    /// # Errors
    /// A database error.
    pub fn set_meta(&self, key: &str, value: Option<&str>) -> Result<(), Error> {
        match value {
            Some(v) => self.run(
                "INSERT INTO meta VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value=?2",
                (key, v),
            ),
            None => self.run("DELETE FROM meta WHERE key=?1", [key]),
        }
        .map(drop)
    }

    /// One statement; the number of rows it changed.
    pub(super) fn run(&self, sql: &str, params: impl rusqlite::Params) -> Result<usize, Error> {
        self.db
            .prepare_cached(sql)
            .and_then(|mut q| q.execute(params))
            .map_err(|e| self.fail(e))
    }

    /// The rows of a query.
    pub(super) fn rows<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, Error> {
        let mut q = self.db.prepare_cached(sql).map_err(|e| self.fail(e))?;
        let rows = q.query_map(params, read).map_err(|e| self.fail(e))?;
        rows.collect::<rusqlite::Result<_>>().map_err(|e| self.fail(e))
    }

    /// Records what this process is about to do; the number is for [`Store::finish`].
    ///
    /// # Errors
    /// A database error.
    pub fn intend(&self, what: &str, pid: i32, started: u64) -> Result<i64, Error> {
        self.run(
            "INSERT INTO intents (pid, started, what) VALUES (?1, ?2, ?3)",
            (pid, started as i64, what),
        )?;
        Ok(self.db.last_insert_rowid())
    }

    /// The intent was carried out, or undone.
    ///
    /// # Errors
    /// A database error.
    pub fn finish(&self, intent: i64) -> Result<(), Error> {
        self.run("DELETE FROM intents WHERE id=?1", [intent]).map(drop)
    }

    /// Every recorded intent: number, process, its start time, and words.
    ///
    /// # Errors
    /// A database error.
    pub fn intents(&self) -> Result<Vec<(i64, i32, u64, String)>, Error> {
        self.rows("SELECT id, pid, started, what FROM intents", [], |r| {
            Ok((r.get(0)?, r.get(1)?, r.get::<_, i64>(2)? as u64, r.get(3)?))
        })
    }
}

/// Switches to write-ahead logging. Two processes that do so at once to a new database would
/// wait for each other, so SQLite refuses one of them without regard to the busy timeout.
fn into_wal(db: &Connection) -> rusqlite::Result<()> {
    let start = Instant::now();
    loop {
        match db.execute_batch("PRAGMA journal_mode=WAL") {
            Err(e)
                if e.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && start.elapsed() < PATIENCE =>
            {
                std::thread::sleep(Duration::from_millis(1));
            }
            done => return done,
        }
    }
}

/// The kernel's identifier of this boot.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn boot_id() -> Result<String, Error> {
    let path = "/proc/sys/kernel/random/boot_id";
    let text = std::fs::read_to_string(path).map_err(|source| Error::Directory {
        path: path.to_owned(),
        source,
    })?;
    Ok(text.trim().to_owned())
}
