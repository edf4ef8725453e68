//! Asking for jobs.

use std::sync::Arc;
use std::time::Duration;

use diffusion_app::digest::Digest;
use uuid::Uuid;

use crate::clock;
use crate::job_handle::{Attachment, JobHandle, Lifetime};
use crate::jobs::{Added, Idempotency, Job, JobImage, JobState, LiveJob, Needs, NewJob, Room, Status};
use crate::refusal::{Refusal, RefusalKind};
use crate::request::{Drawing, JobRequest, Resolved};
use crate::security::Caller;
use crate::studio::Studio;

/// How a job is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Submission<'a> {
    /// Who asks.
    pub caller: &'a Caller,
    /// How long the job lives.
    pub lifetime: Lifetime,
    /// A key by which the caller recognizes the request.
    pub idempotency_key: Option<&'a str>,
}

/// How long to wait where nobody can tell.
const UNKNOWN_WAIT: Duration = Duration::from_secs(30);
/// Longest key of a caller's.
const MAX_IDEMPOTENCY_KEY: usize = 255;

impl Studio {
    /// Ask for a job.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn submit(&self, request: JobRequest, submission: Submission<'_>) -> Result<JobHandle, Refusal> {
        let Submission { caller, lifetime, idempotency_key } = submission;
        if self.is_draining() {
            let message = "the server is ending; ask the next one";
            return Err(Refusal::new(RefusalKind::ShuttingDown, message).retry_after(Duration::from_secs(5)));
        }
        self.inner.rates.check(caller)?;
        let idempotency = idempotency_key.map(|key| idempotency(key, &request)).transpose()?;
        let Resolved { drawing, warnings } = self.resolve(request).await?;
        let (key, needs) = self.identify(&drawing).await?;

        // Who asks under a key means to ask again: the job goes on without its client.
        let lifetime = if idempotency.is_some() { Lifetime::Kept } else { lifetime };
        let job = Job {
            id: Uuid::new_v4(),
            owner: caller.owner.clone(),
            user: caller.user.clone(),
            drawing,
            key,
            queued_at: clock::now(),
            is_attached: lifetime == Lifetime::Attached,
        };
        let mut state = JobState::queued(warnings);
        if let Some(images) = self.cached_images(&job).await? {
            (state.cached, state.images) = (true, images);
            state.end(Status::Completed, None);
        }
        let asked = idempotency.as_ref().map(|idempotency| idempotency.request_digest.clone());
        let room = Room { of_all: self.config().max_queue, of_user: self.config().max_queue_per_user };
        let live = match self.jobs().add(NewJob { job, needs, state, idempotency, room }).await? {
            Added::New(live) => live,
            Added::Repeated(live, digest) if digest == asked => return Ok(self.handle(live, lifetime, true)),
            Added::Repeated(..) => {
                let message = "another request was made with this Idempotency-Key; give each request its own";
                return Err(Refusal::new(RefusalKind::Conflict, message));
            }
            Added::Full { of_user } => return Err(self.full(of_user)),
        };
        let (id, model) = (live.job.id, &live.job.drawing.model);
        if live.state().cached {
            metrics::counter!("studio_picture_cache_hits").increment(1);
            tracing::info!(job = %id, model, "answered from the cache");
        } else {
            tracing::info!(job = %id, model, "queued");
        }
        Ok(self.handle(live, lifetime, false))
    }

    fn handle(&self, job: Arc<LiveJob>, lifetime: Lifetime, is_repeat: bool) -> JobHandle {
        let attachment =
            (lifetime == Lifetime::Attached && !is_repeat).then(|| Attachment { studio: self.clone(), job: job.clone() });
        JobHandle { studio: self.clone(), job, is_repeat, _attachment: attachment }
    }

    /// What tells the pixels and the file of a drawing from all others, and what it needs in a worker's memory.
    async fn identify(&self, drawing: &Drawing) -> Result<(String, Needs), Refusal> {
        let (studio, drawing) = (self.clone(), drawing.clone());
        let identify = move || {
            let key = studio.picture_key_of(&drawing).map_err(|error| Refusal::internal(&*error))?;
            let needs = drawing.needs(studio.registry()).map_err(|problem| Refusal::new(RefusalKind::Conflict, problem))?;
            Ok((key, needs))
        };
        self.blocking(identify).await?
    }

    fn picture_key_of(&self, drawing: &Drawing) -> Result<String, Box<dyn std::error::Error>> {
        let model = self.registry().model(&drawing.model).ok_or("the model is gone")?;
        let mut digest = Digest::default().with(&model.identity).with(serde_json::to_string(drawing)?);
        for lora in &drawing.loras {
            let entry = self.registry().loras.find(&lora.name).ok_or("the LoRA is gone")?;
            digest = digest.with(entry.digest()?);
        }
        Ok(digest.hex())
    }

    /// The images of an equal job, if they are all there.
    async fn cached_images(&self, job: &Job) -> Result<Option<Vec<JobImage>>, Refusal> {
        let owner = if self.config().shares_cache { None } else { Some(job.owner.as_str()) };
        let found = self.jobs().find_by_picture(&job.key, owner).await?;
        let Some(images) = found.map(|found| found.state.images).filter(|images| !images.is_empty()) else { return Ok(None) };
        let studio = self.clone();
        let all_there = move || {
            let mut there = images.iter().map(|image| studio.pictures().contains(&image.file));
            // A picture that cannot be looked for is drawn again.
            there.all(|there| there.unwrap_or(false)).then_some(images)
        };
        self.blocking(all_there).await
    }

    fn full(&self, of_user: bool) -> Refusal {
        let config = self.config();
        let problem = if of_user {
            format!("{} jobs of yours wait, and no more are taken; try again later", config.max_queue_per_user)
        } else {
            format!("{} jobs wait, and no more are taken; try again later", config.max_queue)
        };
        metrics::counter!("studio_jobs_refused").increment(1);
        let wait = self.queue().forecast().all().map_or(UNKNOWN_WAIT, Duration::from_secs_f64);
        Refusal::new(RefusalKind::QueueFull, problem).retry_after(wait)
    }
}

fn idempotency(key: &str, request: &JobRequest) -> Result<Idempotency, Refusal> {
    if key.is_empty() || key.len() > MAX_IDEMPOTENCY_KEY {
        let message = format!("an Idempotency-Key has 1 to {MAX_IDEMPOTENCY_KEY} bytes");
        return Err(Refusal::new(RefusalKind::Malformed, message));
    }
    let request = serde_json::to_string(request).map_err(|error| Refusal::internal(&error))?;
    Ok(Idempotency { key: key.to_owned(), request_digest: Digest::default().with(request).hex() })
}
