//! What a running program says, and what is seen of it.

use std::time::Duration;

use crate::state::context::StepContext;
use crate::state::life::StartResult;
use crate::state::vassal::{AfterStop, Phase, Vassal, phases};
use crate::state::{Channel, Effect, LifeId, Note, VassalMessage};
use crate::types::run_settings::Restart;

impl Vassal {
    pub fn message(
        &mut self,
        id: LifeId,
        said: VassalMessage,
        channel: Channel,
        ctx: &mut StepContext<'_>,
    ) {
        if matches!(&self.phase, Phase::Stopping { .. }) {
            return;
        }
        let Some(life) = self.life_mut(id).filter(|life| life.is_running()) else { return };
        let news = life.on_message(said, channel, ctx);
        let announced = channel == Channel::Notify && said == VassalMessage::Ready;
        let mut loyal = false;
        if announced {
            life.assume_accepting(ctx.now);
            loyal = !life.uses_protocol && life.assume_loyal(ctx.now);
        }
        if life.is_loyal() {
            self.penalty.forgive();
        }
        if news {
            self.log_news(said, ctx);
        }
        if loyal {
            self.note(Note::Loyal, ctx);
        }
        if said == VassalMessage::Accepting || announced {
            self.now_accepting(id, ctx);
        } else {
            self.next_must_accept(id, ctx);
        }
        if said == VassalMessage::GoIdle {
            self.go_idle(id, ctx);
        }
    }

    /// A process of a life that has not announced anything yet waits for connections.
    pub fn seen_accepting(&mut self, id: LifeId, ctx: &mut StepContext<'_>) {
        let Some(life) = self.life_mut(id).filter(|life| life.is_probed()) else { return };
        life.assume_accepting(ctx.now);
        self.note(Note::Accepting, ctx);
        self.now_accepting(id, ctx);
    }

    pub fn pipe_closed(&mut self, id: LifeId, ctx: &mut StepContext<'_>) {
        let Some(life) = self.life_mut(id) else { return };
        if !life.uses_protocol || life.is_cursed() {
            return;
        }
        life.curse(ctx);
        self.history.last_error = Some("its emperor pipe is closed".into());
        self.note(Note::Stopping { why: "because its emperor pipe is closed" }, ctx);
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Running { current, due: _ } => {
                Phase::Stopping { life: current, other: None, then: AfterStop::JudgeExit }
            }
            Phase::Draining { current, old, reload } => {
                if current.id == id {
                    Phase::Stopping { life: current, other: Some(old), then: AfterStop::JudgeExit }
                } else {
                    Phase::Draining { current, old, reload }
                }
            }
            same @ phases!(Held | Listening | Starting | Replacing | Stopping) => same,
        };
    }

    /// The program has gone to the background. The start has failed if the vassal is always to be running; otherwise its
    /// exit may be a success, and the reason is only shown.
    pub fn daemonized(&mut self, id: LifeId, why: String, ctx: &mut StepContext<'_>) {
        let Some(life) = self.life_mut(id).filter(|life| life.is_running()) else { return };
        if life.settings.restart == Restart::Always {
            life.start_result = StartResult::Failed(why.as_str().into());
        }
        self.show_failure(why, ctx);
    }

    /// A life takes requests: a replacement takes over.
    pub(super) fn now_accepting(&mut self, id: LifeId, ctx: &mut StepContext<'_>) {
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Replacing { mut current, next, again } => {
                if next.id != id || next.is_cursed() {
                    Phase::Replacing { current, next, again }
                } else {
                    ctx.out.push(Effect::TakeCustody(self.id, next.id));
                    self.note(Note::Replaced { pid: next.pid }, ctx);
                    current.stop(ctx);
                    Phase::Draining { current: next, old: current, reload: false }
                }
            }
            same @ phases!(Held | Listening | Starting | Running | Draining | Stopping) => same,
        };
    }

    fn go_idle(&mut self, id: LifeId, ctx: &mut StepContext<'_>) {
        let Some(current) = self.current().filter(|life| life.id == id) else { return };
        let then = self.schedule_restart(current, None, Duration::ZERO, ctx.now);
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Running { current, due: _ } => self.stop(current, None, then, ctx),
            Phase::Replacing { current, next: other, again: _ }
            | Phase::Draining { current, old: other, reload: _ } => {
                self.stop(current, Some(other), then, ctx)
            }
            same @ phases!(Held | Listening | Starting | Stopping) => same,
        };
    }

    /// A program that uses the protocol and replaces another has until its start timeout to say that it is
    /// accepting.
    fn next_must_accept(&mut self, id: LifeId, ctx: &StepContext<'_>) {
        if let Phase::Replacing { next, .. } = &mut self.phase
            && next.id == id
            && next.uses_protocol
            && !next.is_accepting()
        {
            next.expect_accepting(ctx.rules);
        }
    }

    fn log_news(&self, said: VassalMessage, ctx: &mut StepContext<'_>) {
        let note = match said {
            VassalMessage::Ready => Note::Ready,
            VassalMessage::Accepting => Note::Accepting,
            VassalMessage::Loyal => Note::Loyal,
            VassalMessage::GoIdle | VassalMessage::Heartbeat => return,
        };
        self.note(note, ctx);
    }
}
