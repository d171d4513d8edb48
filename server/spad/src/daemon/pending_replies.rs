//! Replies that wait for the kernel or the firewall writer, and listings in progress; pure.
//!
//! An administrator is told of success only after the kernel or the writer has answered.

use std::collections::VecDeque;

use spad_engine::GrantListing;
use spad_model::ChangeId;
use tokio::sync::oneshot;

use super::reply::Reply;
use crate::control::Response;

/// What a reply waits for.
#[derive(Debug)]
pub(super) enum Awaited {
    /// The kernel's answer to one change, an administrator's grant. `message` reports its success.
    Change { id: ChangeId, message: String },
    /// The answers to this change and to all changes before it.
    AllBefore { last: ChangeId, response: Response },
    /// The firewall writer's answers to `--cut`.
    Cut(CutProgress),
    /// The firewall writer's answer to `spad confirm`.
    Confirm,
}

/// Connections that the firewall writer cuts, in one message or more.
#[derive(Debug)]
pub(super) struct CutProgress {
    /// Answers of the writer that are still missing.
    pub(super) left: usize,
    /// Connections cut so far.
    pub(super) cut: u32,
    pub(super) error: Option<String>,
    /// What was closed before.
    pub(super) message: String,
}

impl CutProgress {
    pub(super) const fn new(left: usize, message: String) -> Self {
        Self {
            left,
            cut: 0,
            error: None,
            message,
        }
    }

    /// Counts one answer of the writer. Returns whether it was the last.
    pub(super) fn count(&mut self, result: Result<u32, String>) -> bool {
        match result {
            Ok(cut) => self.cut = self.cut.saturating_add(cut),
            Err(why) => self.error = Some(why),
        }
        self.left = self.left.saturating_sub(1);
        self.left == 0
    }
}

/// Every request that is not answered yet, in the order of the requests.
#[derive(Debug, Default)]
pub(super) struct PendingReplies {
    waiting: VecDeque<(Awaited, Reply)>,
    listings: VecDeque<(GrantListing, oneshot::Sender<GrantListing>)>,
}

impl PendingReplies {
    pub(super) fn add(&mut self, awaited: Awaited, reply: Reply) {
        self.waiting.push_back((awaited, reply));
    }

    /// Removes the first reply for which `ready` returns something.
    pub(super) fn take_first<T>(
        &mut self,
        mut ready: impl FnMut(&mut Awaited) -> Option<T>,
    ) -> Option<(T, Reply)> {
        let mut waiting = self.waiting.iter_mut().enumerate();
        let (index, found) =
            waiting.find_map(|(index, (awaited, _))| Some((index, ready(awaited)?)))?;
        let (_, reply) = self.waiting.remove(index)?;
        Some((found, reply))
    }

    /// Counts an answer of the writer for the first cut. Returns that cut once it is complete.
    pub(super) fn count_cut(
        &mut self,
        result: Result<u32, String>,
    ) -> Option<(CutProgress, Reply)> {
        let mut result = Some(result);
        self.take_first(|awaited| match awaited {
            Awaited::Cut(progress) => progress
                .count(result.take()?)
                .then(|| std::mem::replace(progress, CutProgress::new(0, String::new()))),
            _ => None,
        })
    }

    /// Answers all who wait for the firewall writer. Their places stay, because the writer's
    /// answers still come in this order. Grants are refused by the engine instead.
    pub(super) fn answer_all(&mut self, response: &Response) {
        for (awaited, reply) in &mut self.waiting {
            if !matches!(awaited, Awaited::Change { .. }) {
                reply.send_early(response.clone());
            }
        }
    }

    pub(super) fn add_listing(&mut self, sender: oneshot::Sender<GrantListing>) {
        self.listings.push_back((GrantListing::default(), sender));
    }

    pub(super) fn has_listing(&self) -> bool {
        !self.listings.is_empty()
    }

    /// Lists one page more for the first listing. `page` returns false after the last page.
    pub(super) fn list_page(&mut self, page: impl FnOnce(&mut GrantListing) -> bool) {
        let Some((listing, _)) = self.listings.front_mut() else {
            return;
        };
        if !page(listing)
            && let Some((listing, sender)) = self.listings.pop_front()
        {
            // Whoever asked may have gone.
            let _gone = sender.send(listing);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(replies: &mut PendingReplies, awaited: Awaited) -> oneshot::Receiver<Response> {
        let (sender, receiver) = oneshot::channel();
        replies.add(awaited, sender.into());
        receiver
    }

    fn confirm(replies: &mut PendingReplies) -> Option<Reply> {
        let is_confirm = |awaited: &mut Awaited| matches!(awaited, Awaited::Confirm).then_some(());
        replies.take_first(is_confirm).map(|((), reply)| reply)
    }

    fn done(message: &str) -> Response {
        Response::Done {
            message: message.to_owned(),
        }
    }

    #[test]
    fn an_answer_that_comes_too_late_goes_to_nobody_else() {
        let mut replies = PendingReplies::default();
        let mut first = add(&mut replies, Awaited::Confirm);
        replies.answer_all(&done("no response"));
        let mut second = add(&mut replies, Awaited::Confirm);
        confirm(&mut replies).unwrap().done("the first");
        confirm(&mut replies).unwrap().done("the second");
        assert!(confirm(&mut replies).is_none());
        assert_eq!(first.try_recv().unwrap(), done("no response"));
        assert_eq!(second.try_recv().unwrap(), done("the second"));
    }

    #[test]
    fn a_cut_is_answered_after_the_last_of_its_messages_and_cuts_in_their_order() {
        let mut replies = PendingReplies::default();
        for (left, message) in [(2, "first"), (1, "second")] {
            let progress = CutProgress::new(left, message.to_owned());
            drop(add(&mut replies, Awaited::Cut(progress)));
        }
        assert!(replies.count_cut(Ok(3)).is_none());
        let (first, _) = replies.count_cut(Err("busy".to_owned())).unwrap();
        assert_eq!((first.cut, first.message.as_str()), (3, "first"));
        assert_eq!(first.error.as_deref(), Some("busy"));
        let (second, _) = replies.count_cut(Ok(1)).unwrap();
        assert_eq!((second.cut, second.error), (1, None));
        assert!(replies.count_cut(Ok(1)).is_none());
    }

    #[test]
    fn a_grant_is_not_answered_for_the_kernel() {
        let mut replies = PendingReplies::default();
        let message = "open".to_owned();
        let change = Awaited::Change {
            id: ChangeId(1),
            message,
        };
        let mut grant = add(&mut replies, change);
        replies.answer_all(&done("no response"));
        assert!(grant.try_recv().is_err());
    }
}
