//! Extractors that validate their input against its type's schema.

mod faults;
mod json;
mod param_schema;
mod params;
mod parts;

pub use self::{
    faults::Rejection,
    json::Json,
    parts::{Cookies, Headers, Path, Query},
};
pub(crate) use self::{
    faults::RequestFaults,
    param_schema::{is_expressible, properties},
    params::header_name,
};
