//! Where callers are, and jobs that must not leave there.

use std::path::Path;

use overspill_core::effect::SubmitRefusal;

use super::rig::{Answered, Rig};
use crate::config::{Environment, Flags, Strictness, parse};
use crate::gateway::clients::submit::submit_refused;
use crate::region::{Locator, SharedLocator};

/// A gateway that knows `eu` and `us`; this machine is a trusted proxy, or not.
async fn rig(is_trusted: bool) -> Rig {
    let text = "[regions]\ndefault = \"us\"\nmap = { eu = [\"DE\"], us = [\"US\"] }\n";
    let (environment, flags) = (Environment::default(), Flags::default());
    let loaded = parse(
        text,
        "f",
        Path::new("/"),
        &environment,
        &flags,
        Strictness::Check,
    );
    let locator = Locator::new(&loaded.unwrap().config).unwrap();
    Rig::with(|options| {
        options.locator = SharedLocator::new(locator);
        if is_trusted {
            options.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
        }
    })
    .await
}

async fn submit(rig: &Rig, country: &str) -> Answered {
    let bearer = format!("Bearer {}", rig.key);
    let headers = [
        ("Authorization", bearer.as_str()),
        ("CF-IPCountry", country),
    ];
    rig.send("POST", "/v2/tts/run", &headers, b"{\"input\":{}}")
        .await
}

async fn region_of(rig: &Rig, country: &str) -> String {
    let submitted = submit(rig, country).await;
    assert_eq!(submitted.status, 200, "{}", submitted.text());
    let path = format!("/api/v1/jobs/{}", submitted.field("id"));
    rig.get(&path).await.field("region")
}

#[tokio::test]
async fn the_region_is_stored_with_the_job_by_the_header_of_a_trusted_proxy() {
    let rig = rig(true).await;
    for (country, region) in [("DE", "eu"), ("US", "us"), ("XX", "us")] {
        assert_eq!(region_of(&rig, country).await, region, "{country}");
    }
}

#[tokio::test]
async fn the_same_header_from_anyone_else_counts_for_nothing() {
    let rig = rig(false).await;
    assert_eq!(region_of(&rig, "DE").await, "us");
}

#[test]
fn a_job_that_could_never_run_is_refused_with_the_way_out() {
    let error = submit_refused(SubmitRefusal::Homeless {
        region: "eu".parse().unwrap(),
    });
    let text = format!("{error:?}");
    for part in [
        "residency_unserved",
        "422",
        "region eu",
        "[[endpoint.cloud]]",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}
