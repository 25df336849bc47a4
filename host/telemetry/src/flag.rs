use std::fmt;

/// Why a response is what it is, in Envoy's words (`%RESPONSE_FLAGS%`); a closed set, because it
/// is a label.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ResponseFlag {
    /// Nothing unusual.
    #[default]
    None,
    /// `DC`: the client left.
    DownstreamCancelled,
    /// `UF`: no connection to the endpoint.
    ConnectFailure,
    /// `UH`: no healthy endpoint, or no active revision.
    NoHealthyEndpoint,
    /// `UO`: a queue or circuit breaker limit was full.
    Overflow,
    /// `UC`: the endpoint ended the connection, or the guest trapped.
    Reset,
    /// `UT`: the route's time-out or the call's deadline.
    Timeout,
    /// `URX`: the retries were used up.
    RetriesExhausted,
    /// `NR`: no route.
    NoRoute,
    /// `RL`: a rate limit.
    RateLimited,
    /// `FI`: an injected abort.
    FaultInjected,
    /// `DI`: an injected delay.
    DelayInjected,
    /// `UAEX`: the external authorization provider refused.
    ExternallyDenied,
    /// `RBAC`: an authorization policy refused.
    PolicyDenied,
    /// `DPE`: the client broke the protocol.
    ProtocolError,
    /// `CB`: the circuit breaker is open.
    BreakerOpen,
    /// `NC`: the route leads to a destination that is not defined.
    NoCluster,
}

impl ResponseFlag {
    /// Every flag, in the order of their numbers.
    pub const ALL: [Self; 17] = [
        Self::None,
        Self::DownstreamCancelled,
        Self::ConnectFailure,
        Self::NoHealthyEndpoint,
        Self::Overflow,
        Self::Reset,
        Self::Timeout,
        Self::RetriesExhausted,
        Self::NoRoute,
        Self::RateLimited,
        Self::FaultInjected,
        Self::DelayInjected,
        Self::ExternallyDenied,
        Self::PolicyDenied,
        Self::ProtocolError,
        Self::BreakerOpen,
        Self::NoCluster,
    ];

    /// The flag as written in logs and labels; `-` for none.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "-",
            Self::DownstreamCancelled => "DC",
            Self::ConnectFailure => "UF",
            Self::NoHealthyEndpoint => "UH",
            Self::Overflow => "UO",
            Self::Reset => "UC",
            Self::Timeout => "UT",
            Self::RetriesExhausted => "URX",
            Self::NoRoute => "NR",
            Self::RateLimited => "RL",
            Self::FaultInjected => "FI",
            Self::DelayInjected => "DI",
            Self::ExternallyDenied => "UAEX",
            Self::PolicyDenied => "RBAC",
            Self::ProtocolError => "DPE",
            Self::BreakerOpen => "CB",
            Self::NoCluster => "NC",
        }
    }
}

impl fmt::Display for ResponseFlag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_in_order_and_texts_are_unique() {
        let mut seen = std::collections::HashSet::new();
        for (index, flag) in ResponseFlag::ALL.into_iter().enumerate() {
            assert_eq!(flag as usize, index);
            assert!(seen.insert(flag.as_str()));
        }
    }
}
