//! Who of the waiting goes next.

use std::collections::{HashMap, VecDeque};

use airhost_core::Priority;
use tokio::sync::oneshot;

/// Every so many calls, one of the lowest priority goes, so that none waits for ever.
const LOW_SHARE: u32 = 8;

/// A call that waits.
#[derive(Debug)]
pub(crate) struct Waiter {
    id: u64,
    go: oneshot::Sender<()>,
}

impl Waiter {
    pub(crate) fn new(id: u64) -> (Self, oneshot::Receiver<()>) {
        let (go, granted) = oneshot::channel();
        (Self { id, go }, granted)
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Lets it go. False if it has given up.
    pub(crate) fn grant(self) -> bool {
        self.go.send(()).is_ok()
    }
}

/// Calls of one priority: tenants take turns, each tenant's calls in their order.
#[derive(Debug, Default)]
struct Class {
    turns: VecDeque<Box<str>>,
    tenants: HashMap<Box<str>, VecDeque<Waiter>>,
}

impl Class {
    fn push(&mut self, tenant: &str, waiter: Waiter) {
        if let Some(queue) = self.tenants.get_mut(tenant) {
            queue.push_back(waiter);
        } else {
            self.turns.push_back(tenant.into());
            self.tenants.insert(tenant.into(), VecDeque::from([waiter]));
        }
    }

    fn pop(&mut self) -> Option<Waiter> {
        let tenant = self.turns.pop_front()?;
        let queue = self.tenants.get_mut(&tenant)?;
        let waiter = queue.pop_front();
        if queue.is_empty() {
            self.tenants.remove(&tenant);
        } else {
            self.turns.push_back(tenant);
        }
        waiter
    }

    fn remove(&mut self, id: u64) -> bool {
        let found = self.tenants.iter_mut().find_map(|(tenant, queue)| {
            let at = queue.iter().position(|waiter| waiter.id == id)?;
            queue.remove(at);
            Some((tenant.clone(), queue.is_empty()))
        });
        if let Some((tenant, true)) = &found {
            self.tenants.remove(tenant);
            self.turns.retain(|turn| turn != tenant);
        }
        found.is_some()
    }
}

/// Calls that are counted under the same keys.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    /// Low, normal, high.
    classes: [Class; 3],
    count: u32,
}

impl Lane {
    pub(crate) fn push(&mut self, tenant: &str, priority: Priority, waiter: Waiter) {
        self.classes[priority as usize].push(tenant, waiter);
    }

    /// The next one: the highest priority first, but every eighth time the lowest.
    pub(crate) fn pop(&mut self) -> Option<Waiter> {
        self.count = self.count.wrapping_add(1);
        if self.count.is_multiple_of(LOW_SHARE) {
            self.classes.iter_mut().find_map(Class::pop)
        } else {
            self.classes.iter_mut().rev().find_map(Class::pop)
        }
    }

    /// How many calls of the tenant go before a new one of this priority.
    pub(crate) fn ahead(&self, tenant: &str, priority: Priority) -> usize {
        self.classes[priority as usize..]
            .iter()
            .filter_map(|class| class.tenants.get(tenant))
            .map(VecDeque::len)
            .sum()
    }

    pub(crate) fn remove(&mut self, id: u64) -> bool {
        self.classes.iter_mut().any(|class| class.remove(id))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.classes.iter().all(|class| class.tenants.is_empty())
    }
}
