//! Pages: an `offset` names an iterator and the record where the next page begins.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::ids::is_id;
use crate::reply::{ApiError, ApiResult};

/// Lists under way at a time; the oldest is forgotten first.
const MAX_ITERATORS: usize = 512;

/// The lists under way.
#[derive(Debug)]
pub(crate) struct Iterators {
    open: VecDeque<Iterator>,
    life: Duration,
}

#[derive(Debug)]
struct Iterator {
    id: String,
    table: String,
    records: Vec<String>,
    last_used: Instant,
}

impl Iterators {
    pub(crate) fn new(life: Duration) -> Self {
        Self { open: VecDeque::new(), life }
    }

    pub(crate) fn clear(&mut self) {
        self.open.clear();
    }

    /// Remembers a list of which a first page was answered; returns the offset of the next.
    pub(crate) fn open(
        &mut self,
        id: String,
        table: &str,
        records: Vec<String>,
        at: usize,
    ) -> String {
        while self.open.len() >= MAX_ITERATORS {
            self.open.pop_front();
        }
        let offset = format!("{id}/{}", records[at]);
        self.open.push_back(Iterator {
            id,
            table: table.to_owned(),
            records,
            last_used: Instant::now(),
        });
        offset
    }

    /// At most `size` record ids from an offset on, and the offset after them.
    pub(crate) fn page(
        &mut self,
        offset: &str,
        table: &str,
        size: usize,
    ) -> ApiResult<(Vec<String>, Option<String>)> {
        let invalid =
            || ApiError::invalid("INVALID_OFFSET_VALUE", "The value of offset is invalid");
        let (id, record) = offset.split_once('/').ok_or_else(invalid)?;
        if !is_id(id, "itr") {
            return Err(invalid());
        }
        let life = self.life;
        self.open.retain(|open| open.last_used.elapsed() < life);
        let found = self.open.iter_mut().find(|open| open.id == id && open.table == table);
        let open = found.ok_or_else(|| {
            ApiError::invalid(
                "LIST_RECORDS_ITERATOR_NOT_AVAILABLE",
                "The iterator is no longer available; start the list again",
            )
        })?;
        let start = open.records.iter().position(|id| id == record).ok_or_else(invalid)?;
        open.last_used = Instant::now();
        let page: Vec<_> = open.records.iter().skip(start).take(size).cloned().collect();
        let next = open.records.get(start + page.len()).map(|next| format!("{id}/{next}"));
        Ok((page, next))
    }
}
