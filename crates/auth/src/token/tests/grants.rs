use proptest::prelude::*;

use super::*;
use crate::limits::GRANT_PATTERNS;
use crate::{Action, Claims, Grant, Grants, TopicNames};

const DETAIL: &str = "https://mercure.rocks/authorization-detail";

fn mercure() -> JwtOptions {
    options().mercure(
        TopicNames::new()
            .root("https://hub.example/streams/")
            .unwrap(),
    )
}

/// The actions and names of those that are allowed.
fn allowed(identity: &Identity) -> Vec<String> {
    let names = ["a", "a/b", "a/b/c", "x"];
    let all = Action::ALL
        .into_iter()
        .flat_map(|action| names.map(|name| (action, name)));
    let allowed = all.filter(|(action, name)| identity.may(*action, Some(name)));
    allowed
        .map(|(action, name)| format!("{action} {name}"))
        .collect()
}

fn of(changes: &Value) -> Result<Vec<String>, String> {
    let signed = hmac().typ("at+jwt").mint(&claims(changes)).unwrap();
    let identity = verify(mercure(), &signed).map_err(|error| error.to_string())?;
    Ok(allowed(&identity))
}

fn details(details: &Value) -> Result<Vec<String>, String> {
    of(&json!({"authorization_details": details}))
}

#[test]
fn our_own_claim_is_a_list_of_grants() {
    let claim = json!({"headwater": [{"actions": ["read"], "streams": ["a/*"]}]});
    assert_eq!(of(&claim).unwrap(), ["read a/b"]);
    assert_eq!(
        allowed(&verify(options(), &token(&claim)).unwrap()),
        ["read a/b"]
    );
}

#[test]
fn a_token_without_a_claim_of_grants_grants_nothing() {
    assert_eq!(of(&json!({"scope": "admin"})).unwrap(), [""; 0]);
    assert_eq!(
        of(&json!({"mercure": {}, "authorization_details": []})).unwrap(),
        [""; 0]
    );
}

#[test]
fn a_mercure_publisher_publishes_and_creates_and_a_subscriber_reads() {
    let claim = json!({"publish": ["a"], "subscribe": ["a/{x}", "https://hub.example/streams/x"]});
    let expected = ["read a/b", "read x", "publish a", "create a"];
    for name in ["mercure", "https://mercure.rocks/"] {
        assert_eq!(of(&json!({name: claim})).unwrap(), expected);
    }
    let all = of(&json!({"mercure": {"subscribe": ["*"], "publish": [], "payload": 1}})).unwrap();
    assert_eq!(all, ["read a", "read a/b", "read a/b/c", "read x"]);
}

#[test]
fn mercures_claims_grant_nothing_where_they_arent_enabled() {
    let claim = json!({"mercure": {"subscribe": ["*"]}});
    assert!(
        verify(options(), &token(&claim))
            .unwrap()
            .grants()
            .is_empty()
    );
    let claim = json!({"mercure": 1, "authorization_details": 1});
    assert!(verify(options(), &token(&claim)).is_ok());
}

#[test]
fn authorization_details_grant_their_actions_on_their_topics() {
    let expected = [
        "read a",
        "read a/b",
        "publish a",
        "publish a/b",
        "create a",
        "create a/b",
    ];
    let found = details(&json!([
        {"type": "tenant", "topics": "acme", "actions": {"read": true}},
        {
            "type": DETAIL,
            "actions": ["subscribe", "publish", "fly"],
            "topics": [{"match": "a"}, {"match": "/a/:x", "match_type": "urlpattern"}],
            "payload": {},
        },
        {"type": DETAIL, "actions": ["fly"], "topics": [{"match": "*"}]},
        {"type": DETAIL, "actions": ["subscribe"], "topics": [{"match": "https://other.example/"}]},
    ]));
    assert_eq!(found.unwrap(), expected);
    let all = details(&json!([{
        "type": DETAIL, "actions": ["subscribe"],
        "topics": [{"match": "*", "match_type": "urlpattern"}],
    }]));
    assert_eq!(all.unwrap().len(), 4);
}

#[test]
fn authorization_details_need_an_access_token() {
    let claim = json!({"authorization_details": [
        {"type": DETAIL, "actions": ["subscribe"], "topics": [{"match": "a"}]},
    ]});
    let error = verify(mercure(), &token(&claim)).unwrap_err().to_string();
    assert!(error.contains("at+jwt"), "{error}");
    let other = json!({"authorization_details": [{"type": "tenant"}]});
    assert!(verify(mercure(), &token(&other)).is_ok());
}

#[test]
fn one_invalid_grant_makes_the_token_invalid() {
    let detail = |actions: Value, topics: Value| {
        let good = json!({"type": DETAIL, "actions": ["publish"], "topics": [{"match": "a"}]});
        let bad = json!({"type": DETAIL, "actions": actions, "topics": topics});
        json!({"authorization_details": [good, bad]})
    };
    for (changes, part) in [
        (json!({"headwater": {}}), "headwater: "),
        (
            json!({"headwater": [{"actions": ["fly"]}]}),
            "'fly' is not an action",
        ),
        (
            json!({"headwater": [{"actions": ["read"]}]}),
            "needs the patterns",
        ),
        (
            json!({"headwater": [{"actions": ["read"], "streams": ["a"], "x": 1}]}),
            "unknown field",
        ),
        (json!({"mercure": []}), "mercure: not an object"),
        (
            json!({"mercure": {"publish": "*"}}),
            "mercure: publish is not an array",
        ),
        (
            json!({"mercure": {"publish": [1]}}),
            "a selector is not a string",
        ),
        (json!({"mercure": {"subscribe": ["a/{?b}"]}}), "not {?b}"),
        (json!({"authorization_details": {}}), "not an array"),
        (
            detail(json!([]), json!([{"match": "a"}])),
            "actions is not an array with",
        ),
        (
            detail(json!([1]), json!([{"match": "a"}])),
            "an action is not a string",
        ),
        (
            detail(json!(["publish"]), json!([])),
            "topics is not an array with",
        ),
        (
            detail(json!(["publish"]), json!(["a"])),
            "a topic is not an object",
        ),
        (
            detail(json!(["publish"]), json!([null])),
            "a topic is not an object",
        ),
        (
            detail(json!(["publish"]), json!([{"match_type": "exact"}])),
            "a topic has no match",
        ),
        (
            detail(
                json!(["publish"]),
                json!([{"match": "a", "match_type": "Exact"}]),
            ),
            "neither exact nor urlpattern",
        ),
        (
            detail(
                json!(["publish"]),
                json!([{"match": "/a(b)", "match_type": "urlpattern"}]),
            ),
            "of URL patterns",
        ),
    ] {
        let error = of(&changes).unwrap_err();
        assert!(error.contains(part), "{changes}: {error}");
    }
}

#[test]
fn the_number_of_topics_is_limited() {
    let many = |count| json!({"mercure": {"subscribe": vec!["a"; count]}});
    assert!(of(&many(GRANT_PATTERNS)).is_ok());
    assert!(of(&many(GRANT_PATTERNS + 1)).is_err());
    let two = json!({"mercure": {"subscribe": vec!["a"; GRANT_PATTERNS], "publish": ["a"]}});
    assert!(of(&two).is_err());
}

proptest! {
    #[test]
    fn a_minted_token_has_the_grants_that_it_was_minted_with(
        texts in prop::collection::vec(
            "(read|publish|all|list,admin):([a-zé]{1,3}|\\*\\*)(/([a-z]{1,3}|\\*)){0,4}",
            0..5,
        ),
        subject in "[a-zé ]{0,20}",
    ) {
        let grants = texts.iter().map(|text| text.parse::<Grant>().unwrap()).collect();
        let grants = Grants::new(grants).unwrap();
        let claims = Claims::new(at(NOW + 60)).subject(&subject).grants(grants.clone());
        let identity = verify(options(), &hmac().mint(&claims).unwrap()).unwrap();
        prop_assert_eq!(identity.grants(), &grants);
        prop_assert_eq!(identity.subject(), subject);
    }

    #[test]
    fn a_selector_and_a_topic_have_the_same_stream(
        topic in "(https://hub.example/streams/|/|)[ab%2F*./]{1,8}",
        name in "[ab/]{1,6}",
    ) {
        let names = TopicNames::new().root("https://hub.example/streams/").unwrap();
        let stream = names.stream(&topic);
        let pattern = names.exact(&topic).unwrap();
        if topic != "*" {
            prop_assert_eq!(pattern.is_some(), stream.is_some());
            if let (Some(pattern), Some(stream)) = (pattern, stream) {
                prop_assert!(pattern.matches(&stream));
                prop_assert_eq!(pattern.matches(&name), stream == name);
            }
        }
    }
}
