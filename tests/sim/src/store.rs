//! The data under its lock, and the count of its changes.

use std::ops::{Deref, DerefMut};

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::watch;

use crate::model::Data;

/// The data. Whoever changes it is noticed, so that no change is left unsaved.
#[derive(Debug)]
pub(crate) struct Store {
    data: RwLock<Data>,
    changes: watch::Sender<u64>,
}

impl Store {
    pub(crate) fn new(data: Data) -> Self {
        Self { data: RwLock::new(data), changes: watch::Sender::new(0) }
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Data> {
        self.data.read()
    }

    /// Counts as a change only when the data is reached mutably.
    pub(crate) fn write(&self) -> Writing<'_> {
        Writing { data: self.data.write(), changes: &self.changes, touched: false }
    }

    /// A copy, and the number of the last change in it.
    pub(crate) fn snapshot(&self) -> (Data, u64) {
        let data = self.data.read();
        (data.clone(), *self.changes.borrow())
    }

    /// The number of the last change.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

/// The data while it is locked for writing.
#[derive(Debug)]
pub(crate) struct Writing<'a> {
    data: RwLockWriteGuard<'a, Data>,
    changes: &'a watch::Sender<u64>,
    touched: bool,
}

impl Deref for Writing<'_> {
    type Target = Data;

    fn deref(&self) -> &Data {
        &self.data
    }
}

impl DerefMut for Writing<'_> {
    fn deref_mut(&mut self) -> &mut Data {
        self.touched = true;
        &mut self.data
    }
}

impl Drop for Writing<'_> {
    /// Counts before the lock is given back, so that a copy and its number fit together.
    fn drop(&mut self) {
        if self.touched {
            self.changes.send_modify(|change| *change += 1);
        }
    }
}
