//! The engines, from outside: against the model, killed, damaged, at their limits.

mod damage;
mod engines;
mod full;
mod kill;
mod limits;
mod model;
mod support;
