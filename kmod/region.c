// SPDX-License-Identifier: GPL-2.0-only
/*
 * Regions: shmem that belongs to the module, a vm descriptor that maps it behind the gate
 * (gate.c, fault.c), a loader that fills and publishes it (loader.c).
 *
 * The memory is a file of a tmpfs of our own, mounted without huge pages: a large folio is
 * mapped as a whole, published or not. What goes around that (shmem_enabled=force together
 * with MADV_HUGEPAGE on the loader's mapping) meets a check in the fault.
 *
 * The file has the length of the region for ever (it is sealed: bitmaps have its length),
 * is never swapped (see gate.c), and whoever opens it by a path gets a gate file.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt
#include <linux/bitmap.h>
#include <linux/cred.h>
#include <linux/file.h>
#include <linux/mm.h>
#include <linux/mount.h>
#include <linux/pagemap.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

#include "compat.h"
#include "region.h"

#ifdef CONFIG_TRANSPARENT_HUGEPAGE
#define HUGE_NEVER "huge=never,"
#else
#define HUGE_NEVER ""
#endif

static LIST_HEAD(regions);
static DEFINE_MUTEX(regions_lock);
static u64 last_id;

static struct vfsmount *mount;

/* ---- its life: alloc, then finalize, which makes it visible; the last reference ends it ---- */

/* The region is in no list, or never was. */
static void region_free(struct drover_region_obj *r)
{
	cancel_delayed_work_sync(&r->grace);
	drover_requests_end(&r->requests);
	cleanup_srcu_struct(&r->srcu);
	if (r->shm)
		fput(r->shm);
	kvfree(r->received);
	mutex_destroy(&r->state);
	kfree(r);
}

/*
 * Nobody has a reference, and lookups don't give one any more. The name is taken until the
 * device is gone, so the next region of that name can't meet its files.
 */
static void region_end(struct kref *kref)
{
	struct drover_region_obj *r = container_of(kref, struct drover_region_obj, kref);

	might_sleep();
	drover_device_destroy(r);
	mutex_lock(&regions_lock);
	list_del(&r->list);
	mutex_unlock(&regions_lock);
	drover_event_region_end(r->id);
	drover_wake(r, 0, r->npages);
	region_free(r);
}

void drover_region_put(struct drover_region_obj *r)
{
	kref_put(&r->kref, region_end);
}

/* Neither shorter nor longer, whoever can reach the file; nobody else's to open. */
static int region_memory(struct drover_region_obj *r)
{
	struct inode *inode;

	r->received = kvcalloc(BITS_TO_LONGS(r->npages), sizeof(long), GFP_KERNEL_ACCOUNT);
	if (!r->received)
		return -ENOMEM;
	r->shm = shmem_file_setup_with_mnt(mount, "drover-region", (loff_t)r->npages << PAGE_SHIFT,
					   VM_NORESERVE);
	if (IS_ERR(r->shm)) {
		int ret = PTR_ERR(r->shm);

		r->shm = NULL;
		/* No inode to be had: there is no limit to their number. */
		return ret == -ENOSPC ? -ENOMEM : ret;
	}
	inode = file_inode(r->shm);
	SHMEM_I(inode)->seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW;
	mapping_set_unevictable(inode->i_mapping);
	drover_gate_inode(inode);
	return 0;
}

static struct drover_region_obj *region_alloc(const struct drover_region *a)
{
	struct drover_region_obj *r = kzalloc(sizeof(*r), GFP_KERNEL_ACCOUNT);
	int ret;

	if (!r)
		return ERR_PTR(-ENOMEM);
	ret = init_srcu_struct(&r->srcu);
	if (ret) {
		kfree(r);
		return ERR_PTR(ret);
	}
	kref_init(&r->kref);
	INIT_LIST_HEAD(&r->list);
	drover_requests_init(&r->requests);
	INIT_DELAYED_WORK(&r->grace, drover_grace_work);
	mutex_init(&r->state);
	r->minor = -1;
	r->uid = current_euid();
	r->npages = a->bytes >> PAGE_SHIFT;
	r->grace_ms = a->grace_ms;
	r->gated = a->flags & DROVER_REGION_GATED;
	strscpy(r->name, a->name, sizeof(r->name));
	ret = region_memory(r);
	if (ret < 0) {
		region_free(r);
		return ERR_PTR(ret);
	}
	return r;
}

static bool name_taken(const char *name)
{
	struct drover_region_obj *r;

	lockdep_assert_held(&regions_lock);
	list_for_each_entry(r, &regions, list)
		if (!strcmp(r->name, name))
			return true;
	return false;
}

/*
 * Lookups find it from now on, and so does who opens its device. On failure the caller's
 * reference is still the only one that counts: drover_region_put() undoes what was done.
 */
static int region_finalize(struct drover_region_obj *r)
{
	int ret = 0;

	mutex_lock(&regions_lock);
	if (r->name[0] && name_taken(r->name)) {
		ret = -EEXIST;
	} else {
		r->id = ++last_id;
		list_add(&r->list, &regions);
	}
	mutex_unlock(&regions_lock);
	if (ret < 0) {
		region_free(r);
		return ret;
	}
	drover_event_region_new(r->id, r->npages, r->name);
	if (r->name[0])
		ret = drover_device_create(r);
	if (ret < 0)
		drover_region_put(r);
	return ret;
}

int drover_region_mmap(struct drover_region_obj *r, struct vm_area_struct *vma)
{
	if (!(vma->vm_flags & VM_MAYSHARE))
		return -EINVAL;
	if (vma->vm_pgoff > r->npages || vma_pages(vma) > r->npages - vma->vm_pgoff)
		return -EINVAL;
	if (!drover_debug(DROVER_DEBUG_HUGE))
		drover_vma_set_flags(vma, VM_NOHUGEPAGE);
	return r->shm->f_op->mmap(r->shm, vma);
}

/* ---- lookups ---- */

/* One that is about to end is not found. */
static struct drover_region_obj *region_get(struct drover_region_obj *r)
{
	lockdep_assert_held(&regions_lock);
	return kref_get_unless_zero(&r->kref) ? r : NULL;
}

struct drover_region_obj *drover_region_by_minor(int minor)
{
	struct drover_region_obj *r, *found = NULL;

	mutex_lock(&regions_lock);
	list_for_each_entry(r, &regions, list)
		if (r->minor == minor)
			found = region_get(r) ?: found;
	mutex_unlock(&regions_lock);
	return found;
}

struct drover_region_obj *drover_region_by_inode(const struct inode *inode)
{
	struct drover_region_obj *r, *found = NULL;

	mutex_lock(&regions_lock);
	list_for_each_entry(r, &regions, list)
		if (file_inode(r->shm) == inode)
			found = region_get(r);
	mutex_unlock(&regions_lock);
	return found;
}

/* Another user's is none, but for who may do everything. */
static struct drover_region_obj *region_by_id(u64 id)
{
	struct drover_region_obj *r, *found = NULL;

	mutex_lock(&regions_lock);
	list_for_each_entry(r, &regions, list)
		if (r->id == id && (uid_eq(r->uid, current_euid()) || capable(CAP_SYS_ADMIN)))
			found = region_get(r);
	mutex_unlock(&regions_lock);
	return found ?: ERR_PTR(-ENOENT);
}

static struct drover_region_obj *region_of(const struct file *file)
{
	return drover_gate_region(file) ?: drover_loader_region(file);
}

struct file *drover_region_shm(struct file *file)
{
	struct drover_region_obj *r = region_of(file);

	return r ? r->shm : NULL;
}

static struct drover_region_obj *region_by_fd(u64 fd)
{
	struct file *file = fd <= INT_MAX ? fget(fd) : NULL;
	struct drover_region_obj *r;

	if (!file)
		return ERR_PTR(-EBADF);
	r = region_of(file);
	if (!r)
		r = ERR_PTR(-ENODEV);
	else if (!(file->f_mode & FMODE_WRITE))
		r = ERR_PTR(-EBADF);
	else
		kref_get(&r->kref);
	fput(file);
	return r;
}

/* ---- commands ---- */

static bool name_ok(const char *name)
{
	size_t len = strnlen(name, DROVER_NAME_LEN);

	if (len == DROVER_NAME_LEN || name[0] == '.')
		return false;
	return strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_.-") == len;
}

int drover_cmd_region(struct file *file, void *arg, struct drover_fds *fds)
{
	struct drover_region *a = arg;
	struct drover_region_obj *r;
	int ret;

	if (a->flags & ~DROVER_REGION_GATED || !a->bytes || a->bytes % PAGE_SIZE ||
	    !name_ok(a->name) || a->grace_ms > INT_MAX)
		return -EINVAL;
	if (a->bytes >> PAGE_SHIFT > drover_attach_max_pages())
		return -EFBIG;
	r = region_alloc(a);
	if (IS_ERR(r))
		return PTR_ERR(r);
	ret = region_finalize(r);
	if (ret < 0)
		return ret;
	a->id = r->id;
	a->vm_fd = drover_fd_add(fds, drover_gate_file(r, O_RDWR));
	a->loader_fd = a->vm_fd < 0 ? a->vm_fd : drover_fd_add(fds, drover_loader_file(r));
	drover_region_put(r);
	return min(a->loader_fd, 0);
}

int drover_cmd_adopt(struct file *file, void *arg, struct drover_fds *fds)
{
	struct drover_adopt *a = arg;
	struct drover_region_obj *r;
	int ret;

	if (a->flags & ~(DROVER_ADOPT_FD | DROVER_ADOPT_CHECK))
		return -EINVAL;
	r = a->flags & DROVER_ADOPT_FD ? region_by_fd(a->id) : region_by_id(a->id);
	if (IS_ERR(r))
		return PTR_ERR(r);
	if (a->flags & DROVER_ADOPT_CHECK) {
		ret = drover_loader_check(r);
	} else {
		ret = drover_fd_add(fds, drover_loader_file(r));
		if (ret >= 0)
			drover_event_loader_adopted(r->id);
	}
	drover_region_put(r);
	return ret;
}

/* ---- the module ---- */

static int mount_init(void)
{
	struct file_system_type *tmpfs = get_fs_type("tmpfs");
	char options[] = HUGE_NEVER "size=0";

	if (!tmpfs)
		return -ENODEV;
	/* size=0: as much as the caller's memory cgroup lets it have. */
	mount = vfs_kern_mount(tmpfs, SB_KERNMOUNT, "drover", options);
	return PTR_ERR_OR_ZERO(mount);
}

int drover_region_init(void)
{
	int ret = mount_init();

	if (ret)
		return ret;
	ret = drover_devices_init();
	if (ret)
		kern_unmount(mount);
	return ret;
}

void drover_region_exit(void)
{
	drover_devices_exit();
	/* The last release has put its file, which the kernel may close a moment later. */
	flush_delayed_fput();
	kern_unmount(mount);
}
