//! The message of the requests: a typed order of eleven fields, 270 bytes as JSON; and a quote.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The order that is sent and checked, exactly as it is on the wire.
pub const ORDER: &str = concat!(
    r#"{"id":"6f1c2e9a-5b7d-4c3e-9a1f-0d2b4c6e8f10","account":"ACME-000123","symbol":"BROOK","#,
    r#""side":"buy","kind":"limit","quantity":250,"price":101.25,"venue":"one","#,
    r#""tags":["urgent","desk 07"],"placed":"2026-11-23T10:15:30Z","#,
    r#""note":"in slices of fifty, not before the auction"}"#
);

/// An order with the constraints that a developer would give it: ranges, lengths, choices.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct Order {
    /// Which order.
    #[schemars(length(min = 1, max = 36))]
    pub id: String,
    /// Whose.
    #[schemars(length(min = 4, max = 16))]
    pub account: String,
    /// Of what.
    #[schemars(length(min = 1, max = 8))]
    pub symbol: String,
    /// In which direction.
    pub side: Side,
    /// In which way.
    pub kind: Kind,
    /// How many.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub quantity: u32,
    /// At which price.
    #[schemars(range(min = 0))]
    pub price: f64,
    /// Where.
    #[schemars(length(max = 16))]
    pub venue: Option<String>,
    /// What else it is found by.
    #[schemars(length(max = 8), inner(length(max = 16)))]
    pub tags: Vec<String>,
    /// When.
    #[schemars(length(min = 20, max = 35))]
    pub placed: String,
    /// A remark.
    #[schemars(length(max = 200))]
    pub note: String,
}

/// The same order with the constraints that cost the most besides: formats and patterns.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct StrictOrder {
    /// Which order.
    #[schemars(extend("format" = "uuid"))]
    pub id: String,
    /// Whose.
    #[schemars(regex(pattern = r"^[A-Z]{4}-[0-9]{6}$"))]
    pub account: String,
    /// Of what.
    #[schemars(regex(pattern = r"^[A-Z]{1,8}$"))]
    pub symbol: String,
    /// In which direction.
    pub side: Side,
    /// In which way.
    pub kind: Kind,
    /// How many.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub quantity: u32,
    /// At which price.
    #[schemars(range(min = 0))]
    pub price: f64,
    /// Where.
    #[schemars(length(max = 16))]
    pub venue: Option<String>,
    /// What else it is found by.
    #[schemars(length(max = 8), inner(length(max = 16)))]
    pub tags: Vec<String>,
    /// When.
    #[schemars(extend("format" = "date-time"))]
    pub placed: String,
    /// A remark.
    #[schemars(length(max = 200))]
    pub note: String,
}

/// In which direction.
#[derive(Debug, Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// To have more.
    Buy,
    /// To have less.
    Sell,
}

/// In which way.
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

/// The answer to an order.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Receipt {
    /// Which order.
    pub id: String,
    /// What it comes to.
    pub total: f64,
}

impl Receipt {
    /// The receipt of this order.
    #[must_use]
    pub fn of(order: Order) -> Self {
        Self {
            total: f64::from(order.quantity) * order.price,
            id: order.id,
        }
    }
}

/// What a quote is asked for with.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct Ask {
    /// How many.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub quantity: u32,
    /// Where.
    #[schemars(length(max = 16))]
    pub venue: Option<String>,
}

/// A small answer.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Quote {
    /// Of what.
    pub symbol: String,
    /// How many.
    pub quantity: u32,
    /// Where.
    pub venue: Option<String>,
    /// What one costs.
    pub price: f64,
}

impl Quote {
    /// The quote that was asked for.
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
    fn the_order_has_the_size_that_the_tables_name_and_both_types_take_it_whole() {
        assert_eq!(ORDER.len(), 270);
        let order: Order = serde_json::from_str(ORDER).expect("an order");
        assert_eq!(serde_json::to_string(&order).expect("plain fields"), ORDER);
        let order: StrictOrder = serde_json::from_str(ORDER).expect("an order");
        assert_eq!(serde_json::to_string(&order).expect("plain fields"), ORDER);
    }
}
