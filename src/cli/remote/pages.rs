//! Lists, page by page.

use serde::de::DeserializeOwned;

use super::{client::Remote, error::RemoteError, types::Listed};
use crate::cli::error::CliError;

const PAGE_STREAMS: usize = 1000;

/// An iterator over the pages of the list of streams.
pub(in crate::cli) struct Pages<'p> {
    prefix: &'p str,
    after: Option<String>,
    /// The rest of the limit.
    left: Option<usize>,
    ended: bool,
}

impl<'p> Pages<'p> {
    pub(in crate::cli) fn new(prefix: Option<&'p str>, limit: Option<usize>) -> Self {
        Self {
            prefix: prefix.unwrap_or_default(),
            after: None,
            left: limit,
            ended: false,
        }
    }

    /// The next page, which may be empty; `None` after the last.
    pub(in crate::cli) async fn next(&mut self, remote: &Remote) -> Result<Option<Vec<Listed>>, CliError> {
        let wanted = self.left.unwrap_or(PAGE_STREAMS).min(PAGE_STREAMS);
        if self.ended || wanted == 0 {
            return Ok(None);
        }
        let mut page = remote.list(self.prefix, self.after.as_deref(), wanted).await?;
        page.streams.truncate(wanted);
        self.left = self.left.map(|left| left - page.streams.len());
        self.ended = page.next.is_none();
        self.after = page.next;
        Ok(Some(page.streams))
    }
}

/// Parses the page of a list after `after`. A list that does not advance would never end.
pub(super) fn read_page<P: DeserializeOwned>(
    url: &str,
    body: &[u8],
    after: Option<&str>,
    next: impl Fn(&P) -> Option<&str>,
) -> Result<P, RemoteError> {
    let page = serde_json::from_slice(body).map_err(|error| RemoteError::unexpected(url, error.to_string()))?;
    if next(&page).is_some_and(|next| after.is_some_and(|after| next <= after)) {
        return Err(RemoteError::unexpected(url, "the list does not advance"));
    }
    Ok(page)
}
