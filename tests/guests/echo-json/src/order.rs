//! What every contestant of the benchmarks does with a request: reads an order of some 300 bytes
//! and answers its sum, as JSON. The guests and the native server compile this same file.

use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Order<'a> {
    id: &'a str,
    #[serde(borrow)]
    customer: Customer<'a>,
    lines: Vec<Line<'a>>,
    paid: bool,
}

#[derive(Deserialize)]
struct Customer<'a> {
    name: &'a str,
    email: &'a str,
}

#[derive(Deserialize)]
struct Line<'a> {
    sku: &'a str,
    quantity: u64,
    cents: u64,
}

#[derive(Serialize)]
struct Sum<'a> {
    id: &'a str,
    customer: &'a str,
    articles: u64,
    cents: u64,
    largest: &'a str,
    due: bool,
}

/// The answer to an order.
///
/// # Errors
/// The body is not an order.
pub(crate) fn answer(body: &[u8]) -> serde_json::Result<Vec<u8>> {
    let order: Order<'_> = serde_json::from_slice(body)?;
    let largest = order.lines.iter().max_by_key(|line| line.quantity.saturating_mul(line.cents));
    let sum = Sum {
        id: order.id,
        customer: if order.customer.name.is_empty() {
            order.customer.email
        } else {
            order.customer.name
        },
        articles: order.lines.iter().map(|line| line.quantity).sum(),
        cents: order.lines.iter().map(|line| line.quantity.saturating_mul(line.cents)).sum(),
        largest: largest.map_or("", |line| line.sku),
        due: !order.paid,
    };
    serde_json::to_vec(&sum)
}
