//! Arguments of `simulate` and `plan` that say what goes wrong in the cloud, and where its workers
//! come from.

use clap::Args;
use overspill_core::time::DurationMs;
use overspill_sim::simulate::Settings;
use overspill_sim::simulate::settings::Offer;

use crate::config::known;
use crate::config::units::{parse_duration, parse_rate};

use super::emulate::DurationRange;

/// What goes wrong, and the offers.
#[derive(Debug, Args)]
pub(super) struct MisfortuneArgs {
    /// Share of starts that never get ready and are given up after --start-timeout, such as 5%
    #[arg(long, value_name = "SHARE", default_value = "0%", value_parser = parse_share)]
    pub fail_starts: f64,
    /// An order that is not ready after this long has failed
    #[arg(long, value_name = "DURATION", default_value = "7m", value_parser = parse_duration)]
    pub start_timeout: DurationMs,
    /// Share of starts that take five times as long
    #[arg(long, value_name = "SHARE", default_value = "0%", value_parser = parse_share)]
    pub slow_starts: f64,
    /// Share of orders that wait 30 s to 10 min for a GPU first, not billed while they do
    #[arg(long, value_name = "SHARE", default_value = "0%", value_parser = parse_share)]
    pub throttle: f64,
    /// Share of starts that take only 1 s to 5 s, as with FlashBoot
    #[arg(long, value_name = "SHARE", default_value = "0%", value_parser = parse_share)]
    pub flashboot: f64,
    /// Share of attempts that fail part of the way; a job is tried three times
    #[arg(long, value_name = "SHARE", default_value = "0%", value_parser = parse_share)]
    pub fail_jobs: f64,
    /// A ready worker is lost with its jobs once in so much time, on average [default: never]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub lose_workers: Option<DurationMs>,
    /// Workers of one GPU type in one region, as "RTX 4090@EU-RO-1, max=4, price=$1.10/h, speed=1.6,
    /// cold-start=20s..40s, throttle=10%"; all but the name may be left out (may be repeated; the
    /// cheapest for the work it does is taken first, one that throttled lately last)
    #[arg(long, value_name = "OFFER", value_parser = parse_offer)]
    pub offer: Vec<Offer>,
}

impl MisfortuneArgs {
    /// Puts them into the world.
    pub(crate) fn apply(&self, settings: &mut Settings) {
        settings.stuck_share = self.fail_starts;
        settings.start_timeout = self.start_timeout;
        settings.slow_share = self.slow_starts;
        settings.throttled_share = self.throttle;
        settings.flash_share = self.flashboot;
        settings.failing_share = self.fail_jobs;
        settings.lost_every = self.lose_workers.unwrap_or(DurationMs::ZERO);
        settings.offers.clone_from(&self.offer);
    }
}

/// `5%` or `0.05`.
fn parse_share(text: &str) -> Result<f64, String> {
    let (digits, scale) = match text.trim().strip_suffix('%') {
        Some(digits) => (digits, 0.01),
        None => (text, 1.0),
    };
    digits
        .trim()
        .parse::<f64>()
        .map(|share| share * scale)
        .ok()
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| "expected a share from 0% to 100%, such as 5% or 0.05".to_owned())
}

/// Without max: as many as the endpoint may have.
pub(super) fn parse_offer(text: &str) -> Result<Offer, String> {
    let mut parts = text.split(',').map(str::trim);
    let name = parts.next().filter(|name| !name.is_empty());
    let name = name.ok_or("an offer begins with its GPU type, as \"RTX 4090@EU-RO-1, max=4\"")?;
    let gpu = name.split('@').next().unwrap_or(name).trim();
    let mut rate = known::gpu(gpu).and_then(|gpu| gpu.price());
    let (mut max, mut speed) = (u32::MAX, 1.0);
    let (mut cold_start, mut throttled_share) = (None, None);
    for part in parts {
        let (key, value) = part
            .split_once('=')
            .ok_or_else(|| format!("`{part}` is no key=value of an offer"))?;
        let (key, value) = (key.trim(), value.trim());
        match key {
            "price" => rate = Some(parse_rate(value)?),
            "max" => {
                let count = value.parse::<u32>().ok().filter(|&count| count > 0);
                max = count.ok_or("max is a whole number from 1")?;
            }
            "speed" => {
                let factor = value.parse::<f64>().ok();
                let factor = factor.filter(|factor| (0.01..=100.0).contains(factor));
                speed = factor.ok_or("speed is a factor from 0.01 to 100")?;
            }
            "cold-start" => {
                let range: DurationRange = value.parse()?;
                cold_start = Some((range.least, range.most));
            }
            "throttle" => throttled_share = Some(parse_share(value)?),
            _ => {
                return Err(format!(
                    "an offer has no `{key}`; it has price, max, speed, cold-start, throttle"
                ));
            }
        }
    }
    let rate = rate.ok_or_else(|| {
        format!("the built-in table has no price of \"{gpu}\"; give one, as price=$0.44/h")
    })?;
    Ok(Offer {
        name: name.to_owned(),
        rate,
        max,
        speed,
        cold_start,
        throttled_share,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_percent_or_parts() {
        assert_eq!(parse_share("5%"), Ok(0.05));
        assert_eq!(parse_share("0.25"), Ok(0.25));
        for text in ["5", "-1%", "101%", "many", "nan"] {
            assert!(parse_share(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_offer_is_a_gpu_with_what_differs() {
        let offer = parse_offer("RTX 4090@EU-RO-1, max=4, speed=1.6, throttle=10%").unwrap();
        assert_eq!(offer.max, 4);
        assert_eq!(offer.name, "RTX 4090@EU-RO-1");
        assert_eq!(offer.throttled_share, Some(0.1));
        assert_eq!(Some(offer.rate), known::gpu("RTX 4090").unwrap().price());
        assert!(parse_offer("Abacus, price=$0.10/h").is_ok());
        for (text, reason) in [
            ("Abacus", "no price of \"Abacus\""),
            ("RTX 4090, colour=red", "has no `colour`"),
            ("RTX 4090, max=0", "whole number from 1"),
            ("RTX 4090, fast", "no key=value"),
            (", max=1", "begins with its GPU type"),
            ("RTX 4090, speed=0", "factor from"),
        ] {
            let error = parse_offer(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
