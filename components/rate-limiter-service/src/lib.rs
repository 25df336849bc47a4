//! Counts requests against limits and quotas, exactly and across all nodes.

mod domain;
mod handlers;
mod store;
#[cfg(test)]
mod tests;

sdk::service! {
    routes: &[handlers::checks::ROUTES, handlers::policies::ROUTES, handlers::usage::ROUTES],
    jobs: &[sdk::jobs! { "close-window" => handlers::usage::close_window; }],
}
