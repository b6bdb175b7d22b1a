//! Between the management API's words and the model's.

use overspill_sim::cloud::{EndpointSettings, Flash, Hardware, ScalingRule, gpu};
use overspill_wire::management::endpoint::{
    Cpu, CpuRequest, CreateEndpoint, DEFAULT_EXECUTION_TIMEOUT_MS, DEFAULT_IDLE_TIMEOUT_S,
    DEFAULT_WORKERS_MAX, DEFAULT_WORKERS_MIN, Endpoint, EndpointType, FlashBoot, GpuRequest, Gpus,
    QueueUrls, RequestUrls, Scaling, UpdateEndpoint, WorkerLimits,
};

use super::problem::Failure;
use crate::templates::Template;

/// Milliseconds since the epoch as RFC 3339.
pub(crate) fn rfc3339(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms)
        .map_or_else(|_| "1970-01-01T00:00:00Z".into(), |at| at.to_string())
}

fn rule(scaling: Scaling, errors: &mut Vec<String>) -> ScalingRule {
    match scaling {
        Scaling::QueueDelay { queue_delay } => {
            if !(0.5..=86_400.0).contains(&queue_delay) {
                errors.push(format!(
                    "scaling.queueDelay: {queue_delay} is below 0.5 or above 86400"
                ));
            }
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "refused above unless it is a small positive number"
            )]
            let delay_ms = (queue_delay.clamp(0.5, 86_400.0) * 1_000.0) as u64;
            ScalingRule::QueueDelayMs(delay_ms)
        }
        Scaling::RequestCount { request_count } => {
            if request_count == 0 {
                errors.push("scaling.requestCount: 0 is below 1".into());
            }
            ScalingRule::RequestCount(request_count.max(1))
        }
    }
}

fn check_limits(limits: WorkerLimits, errors: &mut Vec<String>) {
    if limits
        .idle_timeout
        .is_some_and(|s| !(1..=3_600).contains(&s))
    {
        errors.push("workers.idleTimeout: must be between 1 and 3600".into());
    }
}

fn check_gpu(gpu: &GpuRequest, errors: &mut Vec<String>) -> Result<(), Failure> {
    let is_version = |text: &String| {
        text.split_once('.').is_some_and(|(major, minor)| {
            let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
            digits(major) && digits(minor)
        })
    };
    if gpu.pools.as_ref().is_some_and(Vec::is_empty) {
        errors.push("gpu.pools: at least one pool is needed".into());
    }
    if gpu.count == Some(0) {
        errors.push("gpu.count: 0 is below 1".into());
    }
    let versions = gpu.allowed_cuda_versions.iter().flatten();
    for version in versions.filter(|v| !is_version(v)) {
        errors.push(format!(
            "gpu.allowedCudaVersions: {version:?} is not major.minor"
        ));
    }
    if let Some(version) = gpu
        .min_cuda_version
        .as_ref()
        .filter(|v| !v.is_empty() && !is_version(v))
    {
        errors.push(format!(
            "gpu.minCudaVersion: {version:?} is not major.minor"
        ));
    }
    for excluded in gpu.excluded_types.iter().flatten() {
        if excluded.trim_start().is_empty() || excluded.trim_start().starts_with('-') {
            errors.push(format!(
                "gpu.excludedTypes: {excluded:?} is not a GPU type id"
            ));
        }
    }
    if gpu.excluded_types.is_some() && gpu.pools.is_none() {
        errors.push("gpu.excludedTypes: needs gpu.pools beside it".into());
    }
    let has_both = gpu
        .allowed_cuda_versions
        .as_ref()
        .is_some_and(|v| !v.is_empty())
        && gpu.min_cuda_version.as_ref().is_some_and(|v| !v.is_empty());
    if has_both {
        return Err(Failure::bad_request(
            "gpu.allowedCudaVersions and gpu.minCudaVersion cannot be given together",
        ));
    }
    Ok(())
}

fn check_cpu(cpu: &[CpuRequest], errors: &mut Vec<String>) {
    if cpu.is_empty() {
        errors.push("cpu: at least one choice is needed".into());
    }
    for choice in cpu {
        if choice.vcpu_count < 2 || !choice.vcpu_count.is_power_of_two() {
            errors.push(format!(
                "cpu.vcpuCount: {} is not a power of two of at least 2",
                choice.vcpu_count
            ));
        }
        if choice.id.is_empty() {
            errors.push("cpu.id: must not be empty".into());
        }
    }
}

fn flash(flash: FlashBoot) -> Flash {
    match flash {
        FlashBoot::Off => Flash::Off,
        FlashBoot::FlashBoot => Flash::On,
        FlashBoot::PriorityFlashBoot => Flash::Priority,
    }
}

fn apply_gpu(hardware: &mut Hardware, gpu: GpuRequest) {
    if !matches!(hardware, Hardware::Gpu { .. }) {
        *hardware = EndpointSettings::default().hardware;
    }
    if let Hardware::Gpu {
        pools,
        excluded,
        count,
        allowed_cuda,
        min_cuda,
    } = hardware
    {
        if let Some(new) = gpu.pools {
            *pools = new;
            *excluded = gpu.excluded_types.unwrap_or_default();
        }
        *count = gpu.count.unwrap_or(*count);
        if let Some(new) = gpu.allowed_cuda_versions {
            *allowed_cuda = new;
            *min_cuda = None;
        }
        if let Some(new) = gpu.min_cuda_version {
            *min_cuda = Some(new).filter(|version| !version.is_empty());
            allowed_cuda.clear();
        }
    }
}

fn cpus(cpu: Vec<CpuRequest>) -> Hardware {
    Hardware::Cpu(
        cpu.into_iter()
            .map(|choice| (choice.id, choice.vcpu_count))
            .collect(),
    )
}

fn refuse_idle_timeout(
    is_load_balancer: bool,
    scaling: ScalingRule,
    is_given: bool,
) -> Result<(), Failure> {
    if is_given && !is_load_balancer && matches!(scaling, ScalingRule::RequestCount(_)) {
        return Err(Failure::bad_request(
            "workers.idleTimeout is not applicable to a queue endpoint that scales on requestCount",
        ));
    }
    Ok(())
}

/// Settings of a new endpoint.
pub(super) fn create(
    body: CreateEndpoint,
    template: Option<&Template>,
    idle_timeout_s: Option<u32>,
) -> Result<EndpointSettings, Failure> {
    let mut errors = Vec::new();
    if body.name.is_empty() {
        errors.push("name: must not be empty".into());
    }
    if body.image.is_none() && template.is_none() {
        errors.push("image: is required without templateId".into());
    }
    let limits = body.workers.unwrap_or_default();
    check_limits(limits, &mut errors);
    let scaling = rule(body.scaling, &mut errors);
    let is_load_balancer = body.endpoint_type == EndpointType::LoadBalancer;
    if is_load_balancer && !matches!(scaling, ScalingRule::RequestCount(_)) {
        errors.push("scaling.type: a LOAD_BALANCER endpoint needs REQUEST_COUNT".into());
    }
    if body.disk == Some(0) {
        errors.push("disk: 0 is below 1".into());
    }
    let hardware = match (body.gpu, body.cpu) {
        (Some(gpu), None) => {
            check_gpu(&gpu, &mut errors)?;
            if gpu.pools.is_none() {
                errors.push("gpu.pools: is required".into());
            }
            let mut hardware = EndpointSettings::default().hardware;
            apply_gpu(&mut hardware, gpu);
            hardware
        }
        (None, Some(cpu)) => {
            check_cpu(&cpu, &mut errors);
            cpus(cpu)
        }
        _ => return Err(Failure::bad_request("specify exactly one of gpu or cpu")),
    };
    if !errors.is_empty() {
        return Err(Failure::unprocessable(errors));
    }
    refuse_idle_timeout(is_load_balancer, scaling, limits.idle_timeout.is_some())?;
    let empty = Template::default();
    let base = template.unwrap_or(&empty);
    let mut env = base.env.clone();
    env.extend(body.env.unwrap_or_default());
    let idle_s = limits
        .idle_timeout
        .or(idle_timeout_s)
        .unwrap_or(DEFAULT_IDLE_TIMEOUT_S);
    Ok(EndpointSettings {
        name: body.name,
        is_load_balancer,
        hardware,
        workers_min: limits.min.unwrap_or(DEFAULT_WORKERS_MIN),
        workers_max: limits.max.unwrap_or(DEFAULT_WORKERS_MAX),
        idle_timeout_ms: u64::from(idle_s) * 1_000,
        scaling,
        execution_timeout_ms: body.timeout.unwrap_or(DEFAULT_EXECUTION_TIMEOUT_MS),
        flash: flash(body.flashboot.unwrap_or_default()),
        data_centers: body.data_center_ids.unwrap_or_default(),
        volumes: body.network_volumes.unwrap_or_default(),
        template: body.template_id,
        image: body.image.unwrap_or_else(|| base.image.clone()),
        args: body.args.unwrap_or_else(|| base.args.clone()),
        disk_gb: body
            .disk
            .unwrap_or(if base.disk_gb > 0 { base.disk_gb } else { 20 }),
        env,
        ports: body.ports.unwrap_or_else(|| base.ports.clone()),
        registry: body.registry.or_else(|| base.registry.clone()),
    })
}

/// Settings of an endpoint after a PATCH.
pub(super) fn update(
    old: &EndpointSettings,
    body: UpdateEndpoint,
    template: Option<&Template>,
) -> Result<EndpointSettings, Failure> {
    let mut new = old.clone();
    let mut errors = Vec::new();
    if let Some(name) = body.name {
        if name.is_empty() {
            errors.push("name: must not be empty".into());
        }
        new.name = name;
    }
    if let Some(scaling) = body.scaling {
        new.scaling = rule(scaling, &mut errors);
        if old.is_load_balancer && !matches!(new.scaling, ScalingRule::RequestCount(_)) {
            errors.push("scaling.type: a LOAD_BALANCER endpoint needs REQUEST_COUNT".into());
        }
    }
    let limits = body.workers.unwrap_or_default();
    check_limits(limits, &mut errors);
    new.workers_min = limits.min.unwrap_or(old.workers_min);
    new.workers_max = limits.max.unwrap_or(old.workers_max);
    new.idle_timeout_ms = limits
        .idle_timeout
        .map_or(old.idle_timeout_ms, |s| u64::from(s) * 1_000);
    if let Some(template) = template {
        new.template = Some(template.id.clone());
        new.image.clone_from(&template.image);
        new.args.clone_from(&template.args);
        new.env.clone_from(&template.env);
    }
    match (body.gpu, body.cpu) {
        (Some(_), Some(_)) => {
            return Err(Failure::bad_request("specify at most one of gpu and cpu"));
        }
        (Some(gpu), None) => {
            if matches!(old.hardware, Hardware::Cpu(_)) {
                return Err(Failure::bad_request("gpu does not apply to a CPU endpoint"));
            }
            check_gpu(&gpu, &mut errors)?;
            apply_gpu(&mut new.hardware, gpu);
        }
        (None, Some(cpu)) => {
            if matches!(old.hardware, Hardware::Gpu { .. }) {
                return Err(Failure::bad_request("cpu does not apply to a GPU endpoint"));
            }
            check_cpu(&cpu, &mut errors);
            new.hardware = cpus(cpu);
        }
        (None, None) => {}
    }
    if body.disk == Some(0) {
        errors.push("disk: 0 is below 1".into());
    }
    if !errors.is_empty() {
        return Err(Failure::unprocessable(errors));
    }
    refuse_idle_timeout(
        new.is_load_balancer,
        new.scaling,
        limits.idle_timeout.is_some(),
    )?;
    new.execution_timeout_ms = body.timeout.unwrap_or(new.execution_timeout_ms);
    new.flash = body.flashboot.map_or(new.flash, flash);
    new.image = body.image.unwrap_or(new.image);
    new.args = body.args.unwrap_or(new.args);
    new.disk_gb = body.disk.unwrap_or(new.disk_gb);
    new.env = body.env.unwrap_or(new.env);
    new.ports = body.ports.unwrap_or(new.ports);
    new.registry = body.registry.unwrap_or(new.registry);
    new.data_centers = body.data_center_ids.unwrap_or(new.data_centers);
    new.volumes = body.network_volumes.unwrap_or(new.volumes);
    Ok(new)
}

/// An endpoint as the API shows it.
pub(super) fn show(
    base_url: &str,
    id: &str,
    settings: &EndpointSettings,
    created_ms: i64,
) -> Endpoint {
    let root = format!("{base_url}/v2/{id}");
    let request_urls = if settings.is_load_balancer {
        RequestUrls::LoadBalancer {
            base: format!("{base_url}/lb/{id}"),
            health: format!("{base_url}/lb/{id}/ping"),
        }
    } else {
        RequestUrls::Queue(QueueUrls {
            run: format!("{root}/run"),
            run_sync: format!("{root}/runsync"),
            status: format!("{root}/status/{{job_id}}"),
            stream: format!("{root}/stream/{{job_id}}"),
            cancel: format!("{root}/cancel/{{job_id}}"),
            retry: format!("{root}/retry/{{job_id}}"),
            purge_queue: format!("{root}/purge-queue"),
            health: format!("{root}/health"),
        })
    };
    let (gpu, cpu) = match &settings.hardware {
        Hardware::Gpu {
            pools,
            excluded,
            count,
            allowed_cuda,
            min_cuda,
        } => {
            let gpus = Gpus {
                pools: pools.clone(),
                excluded_types: excluded.clone(),
                count: *count,
                allowed_cuda_versions: allowed_cuda.clone(),
                min_cuda_version: min_cuda.clone(),
            };
            (Some(gpus), None)
        }
        Hardware::Cpu(choices) => {
            let cpus = choices
                .iter()
                .map(|(id, vcpu_count)| Cpu {
                    id: id.clone(),
                    vcpu_count: *vcpu_count,
                    memory: vcpu_count * gpu::RAM_GB_PER_VCPU,
                })
                .collect();
            (None, Some(cpus))
        }
    };
    let follows_count = matches!(settings.scaling, ScalingRule::RequestCount(_));
    let hides_idle = follows_count && !settings.is_load_balancer;
    let idle_s = u32::try_from(settings.idle_timeout_ms / 1_000)
        .unwrap_or(3_600)
        .clamp(1, 3_600);
    Endpoint {
        id: id.to_owned(),
        name: settings.name.clone(),
        endpoint_type: Some(if settings.is_load_balancer {
            EndpointType::LoadBalancer
        } else {
            EndpointType::Queue
        }),
        request_urls: Some(request_urls),
        gpu,
        cpu,
        workers: WorkerLimits {
            min: Some(settings.workers_min),
            max: Some(settings.workers_max),
            idle_timeout: (!hides_idle).then_some(idle_s),
        },
        scaling: match settings.scaling {
            ScalingRule::QueueDelayMs(ms) => {
                #[expect(clippy::cast_precision_loss, reason = "a day in milliseconds at most")]
                let queue_delay = ms as f64 / 1_000.0;
                Scaling::QueueDelay { queue_delay }
            }
            ScalingRule::RequestCount(request_count) => Scaling::RequestCount { request_count },
        },
        timeout: settings.execution_timeout_ms,
        flashboot: match settings.flash {
            Flash::Off => FlashBoot::Off,
            Flash::On => FlashBoot::FlashBoot,
            Flash::Priority => FlashBoot::PriorityFlashBoot,
        },
        image: Some(settings.image.clone()),
        args: Some(settings.args.clone()),
        disk: Some(settings.disk_gb),
        env: settings.env.clone(),
        ports: settings.ports.clone(),
        registry: settings.registry.clone(),
        data_center_ids: settings.data_centers.clone(),
        network_volumes: settings.volumes.clone(),
        created_at: rfc3339(created_ms),
    }
}
