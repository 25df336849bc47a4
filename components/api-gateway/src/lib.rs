//! The one door for clients: finds out who asks, limits, checks, and lets the host pass the
//! request on. Routes are matched by the host from `policies/gateway`.

mod domain;
mod handlers;
#[cfg(test)]
mod tests;

sdk::service! {
    routes: &[handlers::ROUTES],
}
