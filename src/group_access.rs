//! Access to a file for the group of its folder.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;

const GROUP_READ_WRITE: u32 = 0o060;
const GROUP_WRITE: u32 = 0o020;

/// Gives `path` the group of its folder, and the folder's group write bit. Does nothing for a file of another
/// user, and nothing if the system refuses it: the file serves this user in any case.
pub fn share_with_group(folder: &Path, path: &Path) {
    // A refusal leaves the file as it is.
    share(folder, path).ok();
}

fn share(folder: &Path, path: &Path) -> io::Result<()> {
    let (folder, file) = (folder.metadata()?, path.symlink_metadata()?);
    if !file.is_file() {
        return Ok(());
    }
    if file.gid() != folder.gid() {
        chown(path, None, Some(folder.gid()))?;
    }
    let mode = file.mode() & 0o777;
    let is_shared = folder.mode() & GROUP_WRITE != 0;
    let wanted = if is_shared { mode | GROUP_READ_WRITE } else { mode & !GROUP_WRITE };
    if wanted == mode { Ok(()) } else { fs::set_permissions(path, fs::Permissions::from_mode(wanted)) }
}
