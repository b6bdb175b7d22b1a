//! Rules between tables: names that mean two endpoints, limits above the quota, an address that
//! would lay the server open.

use std::collections::BTreeMap;

use overspill_core::money::NanoUsd;

use super::decode::Decoder;
use super::endpoint::RESERVED_NAMES;
use super::node::{Node, Value};
use super::problem::{Place, quoted};
use super::settings::Config;
use super::units::format_money;

/// All rules over the whole tree. Names are checked apart ([`names`]), as they can be even where
/// an endpoint could not be decoded.
pub(crate) fn whole(config: &mut Config, node: &Node, cx: &mut Decoder<'_, '_>) {
    listen(config, node, cx);
    hosts(config, node, cx);
    origins(config, node, cx);
    database(config, node, cx);
    quota(config, node, cx);
    super::regions::with_endpoints(config, node, cx);
    loops(config, node, cx);
    if config.data_dir.is_relative() {
        config.data_dir = cx.folder.join(&config.data_dir);
    }
}

/// A listening address that others reach needs keys, and something that encrypts them.
fn listen(config: &Config, node: &Node, cx: &mut Decoder<'_, '_>) {
    let address = config.listen;
    if address.ip().is_loopback() {
        return;
    }
    let place = node.place_of("listen");
    let port = address.port();
    if !config.auth.required {
        let message = format!(
            "listen = \"{address}\" with auth off lets everyone who reaches this machine run \
             jobs; set required = true under [auth], or listen = \"127.0.0.1:{port}\""
        );
        cx.error(place, message);
    }
    // An unreadable list has its own fault.
    let is_unreadable = node
        .get("trusted_proxies")
        .is_some_and(|list| matches!(list.value, Value::Unset));
    if config.trusted_proxies.is_empty() && !is_unreadable {
        let message = format!(
            "listen = \"{address}\" would carry keys unencrypted; put a TLS proxy in front and \
             name its address, as in trusted_proxies = [\"10.0.0.2/32\"], or set \
             listen = \"127.0.0.1:{port}\""
        );
        cx.error(place, message);
    }
}

fn hosts(config: &Config, node: &Node, cx: &mut Decoder<'_, '_>) {
    for (index, host) in config.allowed_hosts.iter().enumerate() {
        let item = node
            .get("allowed_hosts")
            .and_then(|list| list.items().get(index));
        let is_name = !host.is_empty()
            && host
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-.:[]_".contains(&b));
        if !is_name {
            let message = format!(
                "{} is no host; expected a name such as \"gpu.example.com\", without https://",
                quoted(host)
            );
            cx.error(item.map_or(&node.place, |item| &item.place), message);
        }
    }
}

fn origins(config: &Config, node: &Node, cx: &mut Decoder<'_, '_>) {
    for (index, origin) in config.allowed_origins.iter().enumerate() {
        let item = node
            .get("allowed_origins")
            .and_then(|list| list.items().get(index));
        let rest = origin
            .strip_prefix("https://")
            .or_else(|| origin.strip_prefix("http://"));
        let is_origin = rest.is_some_and(|host| {
            let host = host.strip_suffix('/').unwrap_or(host);
            let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-.:[]".contains(&b);
            !host.is_empty() && host.bytes().all(allowed)
        });
        if !is_origin {
            let message = format!(
                "{} is no origin; expected scheme and host such as \"https://app.example\", without a path; a \
                 wildcard would let every site read with a token that it came by",
                quoted(origin)
            );
            cx.error(item.map_or(&node.place, |item| &item.place), message);
        }
    }
}

fn database(config: &Config, node: &Node, cx: &mut Decoder<'_, '_>) {
    use secrecy::ExposeSecret as _;
    let Some(address) = &config.database else {
        return;
    };
    let place = node.place_of("database");
    let text = address.expose_secret();
    // The value is not shown: it usually holds a password.
    if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        cx.problems
            .not_active(place, "`database` (the embedded one is used)");
    } else {
        let scheme = text
            .split_once("://")
            .map_or("no scheme", |(scheme, _)| scheme);
        let message = format!(
            "a database address with {}; expected postgres://USER@HOST/NAME, or leave `database` \
             out for the embedded one",
            quoted(scheme)
        );
        cx.error(place, message);
    }
}

/// Limits that the account could never reach.
fn quota(config: &Config, node: &Node, cx: &mut Decoder<'_, '_>) {
    let quota = config.runpod.as_ref().and_then(|runpod| runpod.max_workers);
    let endpoints = node.get("endpoint").map_or(&[][..], Node::items);
    let has_cloud = |endpoint: &super::Endpoint| !endpoint.cloud.is_empty();
    if let Some(quota) = quota {
        for (endpoint, node) in config.endpoint.iter().zip(endpoints) {
            let max = endpoint.workers.max;
            if has_cloud(endpoint) && max > quota && node.get("workers").is_some() {
                let workers = node.get("workers").unwrap_or(node);
                let message = format!(
                    "max = {max} is above max_workers = {quota} of [runpod]; lower the one or \
                     raise the other"
                );
                cx.error(workers.place_of("max"), message);
            }
        }
        let least: u64 = config
            .endpoint
            .iter()
            .filter(|endpoint| has_cloud(endpoint))
            .map(|endpoint| u64::from(endpoint.workers.min))
            .sum();
        if least > u64::from(quota) {
            let place = node
                .get("runpod")
                .map_or(&node.place, |runpod| runpod.place_of("max_workers"));
            let message = format!(
                "the endpoints keep {least} workers on, but max_workers = {quota}; lower a `min`"
            );
            cx.error(place, message);
        }
    }
    if config.runpod.is_none()
        && node.get("runpod").is_none()
        && let Some(index) = config.endpoint.iter().position(has_cloud)
    {
        let place = endpoints
            .get(index)
            .and_then(|endpoint| endpoint.get("cloud"))
            .and_then(|cloud| cloud.items().first())
            .map_or(&node.place, |pool| &pool.place);
        cx.error(
            place,
            "a cloud pool without [runpod]; add [runpod] with api_key = \"${RUNPOD_API_KEY}\"",
        );
    }
}

/// A cloud that is this very server.
fn loops(config: &Config, node: &Node, cx: &mut Decoder<'_, '_>) {
    let Some(runpod) = &config.runpod else { return };
    let own = config.listen.port();
    let urls = [
        ("base_url", &runpod.base_url),
        ("management_url", &runpod.management_url),
    ];
    for (key, url) in urls {
        let Some(url) = url else { continue };
        let authority = url.authority();
        let is_own = own != 0
            && ["127.0.0.1", "localhost", "[::1]"]
                .iter()
                .any(|host| authority == format!("{host}:{own}"));
        if is_own {
            let place = node
                .get("runpod")
                .map_or(&node.place, |runpod| runpod.place_of(key));
            let message = format!(
                "{key} is the address that Overspill itself listens on, so jobs would go in \
                 circles; remove it to use RunPod's own"
            );
            cx.error(place, message);
        }
    }
}

/// Caps that contradict each other or forbid everything by accident.
pub(crate) fn caps(
    node: &Node,
    per_hour: Option<NanoUsd>,
    per_day: Option<NanoUsd>,
    per_month: Option<NanoUsd>,
    cx: &mut Decoder<'_, '_>,
) {
    let caps = [
        ("per_hour", per_hour),
        ("per_day", per_day),
        ("per_month", per_month),
    ];
    for (index, (short_key, short)) in caps.iter().enumerate() {
        for (long_key, long) in &caps[index + 1..] {
            if let (Some(short), Some(long)) = (short, long)
                && short > long
            {
                let message = format!(
                    "{short_key} = \"{}\" is above {long_key} = \"{}\"; lower the one or raise the \
                     other",
                    format_money(*short),
                    format_money(*long)
                );
                cx.error(node.place_of(short_key), message);
            }
        }
    }
}

/// Names, aliases and ids over all endpoints: their form, and that each means one endpoint.
pub(crate) fn names(root: &Node, cx: &mut Decoder<'_, '_>) {
    // By the folded name: what it is, as written, whose, and where.
    let mut seen: BTreeMap<String, (&'static str, String, usize, Place)> = BTreeMap::new();
    for (index, endpoint) in root
        .get("endpoint")
        .map_or(&[][..], Node::items)
        .iter()
        .enumerate()
    {
        let name = endpoint.get("name").map(|node| ("name", node));
        let aliases = endpoint.get("aliases").map_or(&[][..], Node::items);
        let aliases = aliases.iter().map(|node| ("alias", node));
        let pools = endpoint.get("cloud").map_or(&[][..], Node::items);
        let ids = pools
            .iter()
            .filter_map(|pool| pool.get("id"))
            .map(|node| ("id", node));
        for (what, node) in name.into_iter().chain(aliases).chain(ids) {
            let Some(text) = node.as_str() else { continue };
            if what != "id" {
                form(what, text, &node.place, cx);
            }
            let folded = text.to_lowercase();
            let Some((other_what, other, owner, place)) = seen.get(&folded) else {
                seen.insert(folded, (what, text.to_owned(), index, node.place.clone()));
                continue;
            };
            // An alias that repeats the endpoint's own id or name is harmless.
            if *owner == index && (what == "alias" || *other_what == "alias") && other == text {
                continue;
            }
            let line = cx.problems.line_of(place);
            let message = if other == text {
                format!(
                    "{} is the {what} of this endpoint and the {other_what} on {line}; \
                     expected a name of its own",
                    quoted(text)
                )
            } else {
                format!(
                    "{} differs from {} on {line} in upper and lower case only; expected a name \
                     of its own",
                    quoted(text),
                    quoted(other)
                )
            };
            cx.error(&node.place, message);
        }
    }
}

fn form(what: &str, text: &str, place: &Place, cx: &mut Decoder<'_, '_>) {
    let is_plain = text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    let begins_well = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    if text.is_empty() || text.len() > 64 || !is_plain || !begins_well {
        let suggestion: String = text
            .to_lowercase()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .take(64)
            .collect();
        let suggestion = suggestion.trim_matches('-');
        let hint = if suggestion.is_empty() || suggestion == text {
            String::new()
        } else {
            format!("; did you mean `{suggestion}`?")
        };
        let message = format!(
            "{} cannot be an endpoint's {what}; expected 1 to 64 letters, digits, `-`, `_` or \
             `.`, beginning with a letter or digit{hint}",
            quoted(text)
        );
        cx.error(place, message);
    } else if RESERVED_NAMES.contains(&text.to_lowercase().as_str()) {
        let message = format!(
            "{} is reserved: /v2/{} belongs to RunPod's management API; choose another {what}",
            quoted(text),
            text.to_lowercase()
        );
        cx.error(place, message);
    }
}
