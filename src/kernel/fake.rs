//! (see kernel::mod)
