//! The hub of a cluster: its certificate authority, and its gateway for other machines.
