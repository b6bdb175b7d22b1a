use super::*;

/// What a guard says when it is dropped with these jobs on the way.
fn said_at_drop(sent: Option<Vec<TakenJob>>) -> Event {
    let (inbox, said) = std::sync::mpsc::channel();
    let (reply, jobs) = oneshot::channel();
    let guard = PollGuard {
        inbox,
        poll: PollId(1),
        worker: WorkerId::new(2),
        jobs,
        is_over: false,
    };
    if let Some(sent) = sent {
        reply.send(sent).unwrap();
    }
    drop(guard);
    match said.try_recv() {
        Ok(Message::Tell { event, .. }) => event,
        _ => panic!("a dropped poll says so"),
    }
}

#[test]
fn jobs_sent_to_a_poll_that_went_away_go_back() {
    let job = JobId::new(7, false);
    let taken = TakenJob {
        attempt: AttemptId {
            job,
            generation: 0,
            number: 1,
        },
        input: Bytes::new(),
        extras: None,
        webhook: None,
        trace: None,
    };
    let failed = Event::DeliverFailed {
        worker: WorkerId::new(2),
        jobs: vec![job],
    };
    assert_eq!(said_at_drop(Some(vec![taken])), failed);
    let gone = Event::TakeGone { poll: PollId(1) };
    assert_eq!(said_at_drop(None), gone);
    assert_eq!(said_at_drop(Some(Vec::new())), gone);
}
