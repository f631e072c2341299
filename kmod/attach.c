// SPDX-License-Identifier: GPL-2.0-only
/*
 * An attach: which files can be watched, what is held while one is, and how it is left.
 */
#include <linux/anon_inodes.h>
#include <linux/fcntl.h>
#include <linux/fdtable.h>
#include <linux/magic.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>
#include <linux/shmem_fs.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "watch.h"

static LIST_HEAD(watches);
static DEFINE_MUTEX(watches_lock);

static unsigned long file_pages(struct file *file)
{
	return DIV_ROUND_UP_ULL(i_size_read(file_inode(file)), PAGE_SIZE);
}

static int check_file(struct file *file)
{
	struct inode *inode = file_inode(file);

	if (boot_cpu_has(X86_FEATURE_XENPV) || !drover_can_flush())
		return -EOPNOTSUPP;
	if (inode->i_sb->s_magic == HUGETLBFS_MAGIC)
		return -EMEDIUMTYPE;
	if (!S_ISREG(inode->i_mode) || !drover_is_shmem(file->f_mapping))
		return -ENODEV;
	if (SHMEM_I(inode)->seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
		return -EPERM;
	if (!i_size_read(inode))
		return -EINVAL;
	if (file_pages(file) > DROVER_MAX_PAGES)
		return -EFBIG;
	return 0;
}

/* Undo ARM. Under w->lock */
static void disarm(struct drover_watch *w)
{
	/* Not if it was locked before, or is now: shmctl(SHM_LOCK) uses the same bit. */
	w->was_unevictable |= SHMEM_I(w->mapping->host)->flags & VM_LOCKED;
	if (!w->was_unevictable)
		mapping_clear_unevictable(w->mapping);
	if (w->slot)
		drover_let_go(w);
	kvfree(w->slot);
	kvfree(w->dirty);
	kvfree(w->hole);
	w->slot = NULL;
	w->dirty = w->hole = NULL;
	w->memory = 0;
	w->armed = false;
}

static int alloc_maps(struct drover_watch *w)
{
	size_t words = BITS_TO_LONGS(w->npages), pages = DIV_ROUND_UP(w->npages, DROVER_SLOTS);

	w->slot = kvcalloc(pages, sizeof(*w->slot), GFP_KERNEL_ACCOUNT);
	w->dirty = kvcalloc(words, sizeof(long), GFP_KERNEL_ACCOUNT);
	w->hole = kvcalloc(words, sizeof(long), GFP_KERNEL_ACCOUNT);
	w->memory = pages * sizeof(*w->slot) + 2 * words * sizeof(long);
	return w->slot && w->dirty && w->hole ? 0 : -ENOMEM;
}

/*
 * References first, then the bits: a folio without PG_dirty that nobody holds could be
 * thrown away. Nothing that is found now is news: the caller copies everything once, but
 * for what the first harvest says are holes.
 */
static int arm(struct drover_watch *w)
{
	unsigned long end = w->npages;
	int r;

	w->was_unevictable = mapping_unevictable(w->mapping);
	mapping_set_unevictable(w->mapping);
	r = alloc_maps(w);
	if (r >= 0)
		r = drover_pick_up(w, 0, w->npages);
	if (r >= 0)
		r = drover_collect(w, 0, &end);
	if (r < 0) {
		disarm(w);
		return r;
	}
	bitmap_zero(w->dirty, w->npages);
	drover_tell_holes(w);
	w->final = false;
	w->armed = true;
	return 0;
}

static int cmd_arm(struct file *file, void *arg)
{
	struct drover_watch *w = file->private_data;
	struct drover_arm *a = arg;
	int r;

	if (a->flags)
		return -EINVAL;
	if (mutex_lock_interruptible(&w->lock))
		return -EINTR;
	r = w->armed ? -EALREADY : arm(w);
	a->resident = w->held;
	mutex_unlock(&w->lock);
	return r;
}

static void undo_arm(struct file *file, void *arg, int ret)
{
	struct drover_watch *w = file->private_data;

	mutex_lock(&w->lock);
	if (w->armed)
		disarm(w);
	mutex_unlock(&w->lock);
}

static int set_words(struct drover_watch *w, const struct drover_set_dirty *a)
{
	const unsigned long __user *user = u64_to_user_ptr(a->bitmap);
	unsigned long at = a->first / BITS_PER_LONG, i, n = BITS_TO_LONGS(a->npages), word;

	for (i = 0; i < n; i++) {
		unsigned long left = a->npages - i * BITS_PER_LONG;

		if (get_user(word, user + i))
			return -EFAULT;
		if (left < BITS_PER_LONG)
			word &= (1ul << left) - 1;
		w->dirty[at + i] |= word;
		if (!(i % 4096)) {
			cond_resched();
			if (signal_pending(current))
				return -EINTR;
		}
	}
	return 0;
}

static int cmd_set_dirty(struct file *file, void *arg)
{
	struct drover_watch *w = file->private_data;
	struct drover_set_dirty *a = arg;
	int r;

	if (a->flags || a->first % BITS_PER_LONG || !a->npages || a->first >= w->npages ||
	    a->npages > w->npages - a->first || a->bitmap % sizeof(long))
		return -EINVAL;
	if (mutex_lock_interruptible(&w->lock))
		return -EINTR;
	r = w->armed ? set_words(w, a) : -ENXIO;
	mutex_unlock(&w->lock);
	return r;
}

static int cmd_stat(struct file *file, void *arg)
{
	struct drover_watch *w = file->private_data;
	struct drover_stat *a = arg;

	if (a->flags)
		return -EINVAL;
	if (mutex_lock_interruptible(&w->lock))
		return -EINTR;
	a->pages = w->npages;
	a->held = w->held;
	a->harvests = w->harvests;
	a->harvest_ns = w->harvest_ns;
	a->walked = w->walked;
	a->dirty = w->reported;
	a->memory = w->memory;
	mutex_unlock(&w->lock);
	return 0;
}

static const struct drover_cmd commands[] = {
	DROVER_CMD(DROVER_IOC_ARM, struct drover_arm, sizeof(struct drover_arm), cmd_arm,
		   undo_arm),
	DROVER_CMD(DROVER_IOC_HARVEST, struct drover_harvest, sizeof(struct drover_harvest),
		   drover_cmd_harvest, NULL),
	DROVER_CMD(DROVER_IOC_SET_DIRTY, struct drover_set_dirty, sizeof(struct drover_set_dirty),
		   cmd_set_dirty, NULL),
	DROVER_CMD(DROVER_IOC_STAT, struct drover_stat, sizeof(struct drover_stat), cmd_stat, NULL),
};

static long attach_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	return drover_ioctl(commands, ARRAY_SIZE(commands), file, cmd, arg);
}

static void watch_free(struct drover_watch *w)
{
	mutex_lock(&watches_lock);
	list_del(&w->list);
	mutex_unlock(&watches_lock);
	drover_event_release(file_inode(w->file)->i_ino);
	fput(w->file);
	mutex_destroy(&w->lock);
	kfree(w);
}

/* The holder has closed it or has died. */
static int attach_release(struct inode *inode, struct file *file)
{
	struct drover_watch *w = file->private_data;

	mutex_lock(&w->lock);
	if (w->armed)
		disarm(w);
	mutex_unlock(&w->lock);
	watch_free(w);
	return 0;
}

static const struct file_operations attach_fops = {
	.owner = THIS_MODULE,
	.release = attach_release,
	.unlocked_ioctl = attach_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.llseek = noop_llseek,
};

/* The shmem file of a descriptor, which may be a region's; with a reference, or NULL. */
static struct file *ram_file(int fd)
{
	struct file *file = fget(fd), *shm = file ? drover_region_shm(file) : NULL;

	if (!shm)
		return file;
	get_file(shm);
	fput(file);
	return shm;
}

/* Takes over the reference of @file on success. */
static struct drover_watch *watch_new(struct file *file, bool protect)
{
	struct drover_watch *w = kzalloc(sizeof(*w), GFP_KERNEL_ACCOUNT), *other;

	if (!w)
		return ERR_PTR(-ENOMEM);
	mutex_init(&w->lock);
	w->file = file;
	w->protect = protect;
	w->mapping = file->f_mapping;
	w->npages = file_pages(file);
	mutex_lock(&watches_lock);
	list_for_each_entry(other, &watches, list) {
		if (other->mapping == w->mapping) {
			mutex_unlock(&watches_lock);
			kfree(w);
			return ERR_PTR(-EBUSY);
		}
	}
	list_add(&w->list, &watches);
	mutex_unlock(&watches_lock);
	return w;
}

/* For commands whose value is a descriptor. */
void drover_undo_fd(struct file *file, void *arg, int ret)
{
	if (ret >= 0)
		close_fd(ret);
}

u64 drover_attach_features(void)
{
	return DROVER_CAP_ATTACH | DROVER_CAP_PROTECT |
	       (IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE) ? DROVER_CAP_THP_2M : 0);
}

u64 drover_attach_max_pages(void)
{
	return DROVER_MAX_PAGES;
}

int drover_cmd_attach(struct file *file, void *arg)
{
	struct drover_attach *a = arg;
	struct drover_watch *w;
	struct file *ram;
	int r;

	if (a->flags & ~DROVER_ATTACH_PROTECT || a->reserved)
		return -EINVAL;
	ram = ram_file(a->fd);
	if (!ram)
		return -EBADF;
	r = ram->f_mode & FMODE_WRITE ? check_file(ram) : -EBADF;
	if (r < 0) {
		fput(ram);
		return r;
	}
	w = watch_new(ram, a->flags & DROVER_ATTACH_PROTECT);
	if (IS_ERR(w)) {
		fput(ram);
		return PTR_ERR(w);
	}
	a->pages = w->npages;
	/* Somebody may close it as soon as it is there; a failure is told as its release. */
	drover_event_attach(file_inode(ram)->i_ino, w->npages);
	r = anon_inode_getfd("[drover-attach]", &attach_fops, w, O_RDWR | O_CLOEXEC);
	if (r < 0)
		watch_free(w);
	return r;
}
