//! Whether this process may leave the machine: the one place that decides it, and the only one that constructs a network client.
//!
//! A client is built from a [`Permit`], and a permit is given only while no switch forbids the network, before any name is
//! resolved. In air-gap mode `lock` also has the kernel refuse every socket, so that a mistake here could not leave either.

mod lock;

use thiserror::Error;

use crate::cli::environment::Offline;
pub use lock::{Lock, lock_out};

/// A switch forbids leaving this machine.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{what} would leave this machine, and {variable}=1 (from {origin}) forbids it")]
pub struct Forbidden {
    /// What would have left, as the start of a sentence.
    pub what: String,
    /// The variable that forbids it.
    pub variable: &'static str,
    /// Where its value came from.
    pub origin: String,
    /// Whether it is the air gap proper, not only an offline hint to the hub.
    pub air_gap: bool,
}

/// Proof that no switch forbade the network.
#[derive(Debug)]
pub struct Permit(());

/// Asks whether `what` may go out.
///
/// # Errors
/// [`Forbidden`] while a switch is set.
pub fn may_leave(what: &str, offline: Option<&Offline>) -> Result<Permit, Forbidden> {
    match offline {
        None => Ok(Permit(())),
        Some(switch) => Err(Forbidden {
            what: what.to_owned(),
            variable: switch.variable,
            origin: switch.source.clone(),
            air_gap: switch.air_gap,
        }),
    }
}

#[cfg(feature = "connected")]
impl Permit {
    /// A client of the hub, or of the mirror at `endpoint`, that writes into `cache`.
    ///
    /// # Errors
    /// What the client library said.
    pub(crate) fn hub(
        &self,
        cache: &std::path::Path,
        endpoint: Option<&str>,
    ) -> Result<hf_hub::api::sync::Api, hf_hub::api::sync::ApiError> {
        let mut builder = hf_hub::api::sync::ApiBuilder::from_cache(hf_hub::Cache::new(cache.to_owned()))
            .with_progress(false)
            .with_user_agent("kolm", env!("CARGO_PKG_VERSION"));
        if let Some(endpoint) = endpoint {
            builder = builder.with_endpoint(endpoint.trim_end_matches('/').to_owned());
        }
        builder.build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_refuses_and_is_named() {
        assert!(may_leave("x", None).is_ok());
        let switch = Offline { variable: "KOLM_AIRGAP", source: "the environment".to_owned(), air_gap: true };
        let refused = may_leave("fetching org/model", Some(&switch)).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "fetching org/model would leave this machine, and KOLM_AIRGAP=1 (from the environment) forbids it"
        );
    }
}
