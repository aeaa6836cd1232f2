//! The artifact: container, manifest, plan, receipt, keys, audit log.
