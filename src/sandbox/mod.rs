//! Launching a process in its namespaces.
