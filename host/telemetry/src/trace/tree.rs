use std::{collections::HashMap, fmt};

use serde::Serialize;

use super::{Kind, Span, Status, Value};

/// Spans of a piece of work as a tree: every span below the one it is part of. A span whose
/// parent is not there (pushed out, or on another node) is a root.
///
/// [`fmt::Display`] draws it with offsets from the first span's start; serialised, it is the
/// spans with their `children`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Tree(Vec<Node>);

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Node {
    #[serde(flatten)]
    span: Span,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    children: Vec<Node>,
}

impl Tree {
    /// The tree of these spans, which may come from several nodes; each is taken once.
    #[must_use]
    pub fn new(mut spans: Vec<Span>) -> Self {
        // Of spans that began in the same microsecond the one that ended last is the outer one,
        // and they come in the order in which they ended.
        spans.reverse();
        spans.sort_by_key(|span| span.start_micros);
        let mut index = HashMap::with_capacity(spans.len());
        spans.retain(|span| {
            let next = index.len();
            let mut new = false;
            index.entry((span.trace_id, span.span_id)).or_insert_with(|| {
                new = true;
                next
            });
            new
        });
        // A parent begins before its children, so that links to later spans (clocks of two nodes
        // apart, or ids made up by a client) are cut, and with them every cycle.
        let parents: Vec<Option<usize>> = spans
            .iter()
            .enumerate()
            .map(|(at, span)| {
                index.get(&(span.trace_id, span.parent_id)).copied().filter(|parent| *parent < at)
            })
            .collect();
        let mut nodes: Vec<Option<Node>> =
            spans.into_iter().map(|span| Some(Node { span, children: Vec::new() })).collect();
        let mut roots = Vec::new();
        // From the last to the first: a node is complete when its turn comes.
        for at in (0..nodes.len()).rev() {
            let Some(mut node) = nodes[at].take() else { continue };
            node.children.reverse();
            match parents[at].and_then(|parent| nodes[parent].as_mut()) {
                Some(parent) => parent.children.push(node),
                None => roots.push(node),
            }
        }
        roots.reverse();
        Self(roots)
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = self.0.iter().map(|node| node.span.start_micros).min().unwrap_or_default();
        // A stack, not recursion: a chain of ten thousand spans is a valid trace.
        let mut stack: Vec<(&Node, usize)> = self.0.iter().rev().map(|node| (node, 0)).collect();
        while let Some((node, depth)) = stack.pop() {
            let span = &node.span;
            let begin = millis(span.start_micros.saturating_sub(origin));
            let took = millis(span.duration_micros);
            write!(f, "{begin:>10} ms {took:>10} ms  ")?;
            write!(f, "{:indent$}", "", indent = depth.min(40) * 2)?;
            let service = span.service.as_ref().map_or("airhost", |service| service.as_str());
            write!(f, "{service}  {} {}", kind(span.kind), span.name)?;
            match &span.status {
                Status::Ok => {}
                Status::Http(status) => write!(f, "  {status}")?,
                Status::Error(code) => write!(f, "  error {code}")?,
                Status::Cancelled => f.write_str("  cancelled")?,
            }
            for (name, value) in &span.attributes {
                match value {
                    Value::Int(value) => write!(f, "  {name}={value}")?,
                    Value::Text(value) => write!(f, "  {name}={value:?}")?,
                    Value::Shared(value) => write!(f, "  {name}={value:?}")?,
                }
            }
            writeln!(f)?;
            stack.extend(node.children.iter().rev().map(|child| (child, depth + 1)));
        }
        Ok(())
    }
}

/// Milliseconds with three decimals.
fn millis(micros: u64) -> String {
    format!("{}.{:03}", micros / 1000, micros % 1000)
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Server => "server",
        Kind::Client => "client",
        Kind::Sql => "sql",
        Kind::Store => "store",
        Kind::Publish => "publish",
        Kind::Consume => "consume",
        Kind::Job => "job",
        Kind::Tick => "tick",
        Kind::Internal => "internal",
    }
}
