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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Blob;

    #[test]
    fn only_what_is_changed_counts() {
        let store = Store::new(Data::default());
        assert!(store.read().bases.is_empty());
        assert!(store.write().bases.is_empty(), "looked at under the lock for writing");
        assert_eq!(store.snapshot().1, 0);
        let blob = Blob { content_type: String::new(), data: Default::default() };
        store.write().blobs.insert("a".to_owned(), blob);
        let (data, change) = store.snapshot();
        assert_eq!((data.blobs.len(), change, *store.changes().borrow()), (1, 1, 1));
    }
}
