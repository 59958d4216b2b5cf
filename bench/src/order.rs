//! The messages of the request benchmark: a typed order of eleven fields, 270 bytes as JSON, and a
//! quote.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The order that is sent and checked, byte for byte as on the wire.
pub const ORDER: &str = concat!(
    r#"{"id":"6f1c2e9a-5b7d-4c3e-9a1f-0d2b4c6e8f10","account":"ACME-000123","symbol":"BROOK","#,
    r#""side":"buy","kind":"limit","quantity":250,"price":101.25,"venue":"one","#,
    r#""tags":["urgent","desk 07"],"placed":"2026-11-23T10:15:30Z","#,
    r#""note":"in slices of fifty, not before the auction"}"#
);

/// An order with a developer's usual constraints: ranges, lengths and enums.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct Order {
    /// Order id.
    #[schemars(length(min = 1, max = 36))]
    pub id: String,
    /// Account of the customer.
    #[schemars(length(min = 4, max = 16))]
    pub account: String,
    /// Symbol of the traded item.
    #[schemars(length(min = 1, max = 8))]
    pub symbol: String,
    /// Side of the order.
    pub side: Side,
    /// Type of the order.
    pub kind: Kind,
    /// Number of units.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub quantity: u32,
    /// Price per unit.
    #[schemars(range(min = 0))]
    pub price: f64,
    /// Trading venue.
    #[schemars(length(max = 16))]
    pub venue: Option<String>,
    /// Tags for searches.
    #[schemars(length(max = 8), inner(length(max = 16)))]
    pub tags: Vec<String>,
    /// Time of the order.
    #[schemars(length(min = 20, max = 35))]
    pub placed: String,
    /// Free text.
    #[schemars(length(max = 200))]
    pub note: String,
}

/// The same order with the most expensive constraints in addition: formats and patterns.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct StrictOrder {
    /// Order id.
    #[schemars(extend("format" = "uuid"))]
    pub id: String,
    /// Account of the customer.
    #[schemars(regex(pattern = r"^[A-Z]{4}-[0-9]{6}$"))]
    pub account: String,
    /// Symbol of the traded item.
    #[schemars(regex(pattern = r"^[A-Z]{1,8}$"))]
    pub symbol: String,
    /// Side of the order.
    pub side: Side,
    /// Type of the order.
    pub kind: Kind,
    /// Number of units.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub quantity: u32,
    /// Price per unit.
    #[schemars(range(min = 0))]
    pub price: f64,
    /// Trading venue.
    #[schemars(length(max = 16))]
    pub venue: Option<String>,
    /// Tags for searches.
    #[schemars(length(max = 8), inner(length(max = 16)))]
    pub tags: Vec<String>,
    /// Time of the order.
    #[schemars(extend("format" = "date-time"))]
    pub placed: String,
    /// Free text.
    #[schemars(length(max = 200))]
    pub note: String,
}

/// Side of an order.
#[derive(Debug, Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Increases the position.
    Buy,
    /// Reduces the position.
    Sell,
}

/// Type of an order.
#[derive(Debug, Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// At any price.
    Market,
    /// At this price or a better one.
    Limit,
    /// When this price is reached.
    Stop,
}

/// The response to an order.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Receipt {
    /// Order id.
    pub id: String,
    /// Total price.
    pub total: f64,
}

impl Receipt {
    /// Creates the receipt of an order.
    #[must_use]
    pub fn of(order: Order) -> Self {
        Self {
            total: f64::from(order.quantity) * order.price,
            id: order.id,
        }
    }
}

/// Parameters of a quote.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct Ask {
    /// Number of units.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub quantity: u32,
    /// Trading venue.
    #[schemars(length(max = 16))]
    pub venue: Option<String>,
}

/// A small response.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Quote {
    /// Symbol of the traded item.
    pub symbol: String,
    /// Number of units.
    pub quantity: u32,
    /// Trading venue.
    pub venue: Option<String>,
    /// Price per unit.
    pub price: f64,
}

impl Quote {
    /// Creates the requested quote.
    #[must_use]
    pub fn of(symbol: String, ask: Ask) -> Self {
        Self {
            symbol,
            quantity: ask.quantity,
            venue: ask.venue,
            price: 101.25,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_has_the_documented_size_and_fits_both_types() {
        assert_eq!(ORDER.len(), 270);
        let order: Order = serde_json::from_str(ORDER).expect("an order");
        assert_eq!(serde_json::to_string(&order).expect("plain fields"), ORDER);
        let order: StrictOrder = serde_json::from_str(ORDER).expect("an order");
        assert_eq!(serde_json::to_string(&order).expect("plain fields"), ORDER);
    }
}
