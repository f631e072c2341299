// SPDX-License-Identifier: GPL-2.0-only
/*
 * /dev/drover: the table of commands, and how every one of them takes its structure.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt
#include <linux/file.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "internal.h"

#ifdef DROVER_DEBUG
static unsigned int debug;
module_param(debug, uint, 0600);
MODULE_PARM_DESC(debug, "break something on purpose: a mask, see internal.h");

bool drover_debug(unsigned int what)
{
	return READ_ONCE(debug) & what;
}
#endif

int drover_fd_add(struct drover_fds *fds, struct file *file)
{
	int fd;

	if (IS_ERR(file))
		return PTR_ERR(file);
	fd = fds->n < ARRAY_SIZE(fds->at) ? get_unused_fd_flags(O_CLOEXEC) : -EMFILE;
	if (fd < 0) {
		fput(file);
		return fd;
	}
	fds->at[fds->n].fd = fd;
	fds->at[fds->n++].file = file;
	return fd;
}

/* The caller has its outputs: it gets its descriptors. */
static void fds_install(const struct drover_fds *fds)
{
	unsigned int i;

	for (i = 0; i < fds->n; i++)
		fd_install(fds->at[i].fd, fds->at[i].file);
}

/* No other thread has ever seen them. */
static void fds_abort(const struct drover_fds *fds)
{
	unsigned int i;

	for (i = 0; i < fds->n; i++) {
		put_unused_fd(fds->at[i].fd);
		fput(fds->at[i].file);
	}
}

static const struct drover_cmd *find_command(const struct drover_cmd *table, unsigned int n,
					     unsigned int cmd)
{
	const struct drover_cmd *c;

	/* The number's own size member is the caller's header's: not what tells commands apart. */
	for (c = table; c < table + n; c++)
		if (_IOC_TYPE(c->cmd) == _IOC_TYPE(cmd) && _IOC_NR(c->cmd) == _IOC_NR(cmd))
			return c;
	return NULL;
}

/**
 * drover_ioctl - carry out a command of a descriptor
 * @table: the commands of this kind of descriptor
 * @n: how many
 * @file: the descriptor's
 * @cmd: DROVER_IOC_* as the caller's header has it
 * @arg: address of the caller's structure, which begins with its size
 *
 * Return: what the command returns; -ENOTTY no such command, -EFAULT, -EINVAL or -E2BIG
 * for the structure as drover.h says.
 */
long drover_ioctl(const struct drover_cmd *table, unsigned int n, struct file *file,
		  unsigned int cmd, unsigned long arg)
{
	const struct drover_cmd *c = find_command(table, n, cmd);
	u8 buf[DROVER_ARG_MAX] __aligned(8) = {};
	void __user *user = (void __user *)arg;
	struct drover_fds fds = {};
	u32 size;
	int r;

	if (!c)
		return -ENOTTY;
	if (get_user(size, (u32 __user *)user))
		return -EFAULT;
	if (size < c->min)
		return -EINVAL;
	if (size > PAGE_SIZE)
		return -E2BIG;
	r = copy_struct_from_user(buf, c->size, user, size);
	if (r)
		return r;
	r = c->fn(file, buf, &fds);
	if ((r >= 0 || r == -EINTR || r == -EFAULT) &&
	    copy_to_user(user, buf, min_t(size_t, size, c->size))) {
		if (r >= 0 && c->abort)
			c->abort(file);
		r = -EFAULT;
	}
	if (r >= 0)
		fds_install(&fds);
	else
		fds_abort(&fds);
	return r;
}

static int cmd_caps(struct file *file, void *arg, struct drover_fds *fds)
{
	struct drover_caps *a = arg;

	if (a->flags || a->reserved)
		return -EINVAL;
	a->features = drover_attach_features();
	a->features |= DROVER_CAP_REGION | DROVER_CAP_NAMED | DROVER_CAP_FRESH;
#ifdef DROVER_DEBUG
	a->features |= DROVER_CAP_DEBUG;
#endif
	a->max_pages = drover_attach_max_pages();
	a->version = DROVER_UAPI_VERSION;
	return 0;
}

static const struct drover_cmd commands[] = {
	DROVER_CMD(DROVER_IOC_CAPS, struct drover_caps, sizeof(struct drover_caps), cmd_caps, NULL),
	DROVER_CMD(DROVER_IOC_ATTACH, struct drover_attach, sizeof(struct drover_attach),
		   drover_cmd_attach, NULL),
	DROVER_CMD(DROVER_IOC_REGION, struct drover_region, sizeof(struct drover_region),
		   drover_cmd_region, NULL),
	DROVER_CMD(DROVER_IOC_ADOPT, struct drover_adopt, sizeof(struct drover_adopt),
		   drover_cmd_adopt, NULL),
};

static long main_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	return drover_ioctl(commands, ARRAY_SIZE(commands), file, cmd, arg);
}

static const struct file_operations main_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = main_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.llseek = noop_llseek,
};

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "drover",
	.fops = &main_fops,
	.mode = 0600,
};

static int __init drover_init(void)
{
	int r;

	r = drover_events_init();
	if (r)
		return r;
	r = drover_lru_init();
	if (r)
		goto err_events;
	r = drover_region_init();
	if (r)
		goto err_lru;
	r = misc_register(&device);
	if (!r)
		return 0;
	drover_region_exit();
err_lru:
	drover_lru_exit();
err_events:
	drover_events_exit();
	return r;
}

static void __exit drover_exit(void)
{
	misc_deregister(&device);
	drover_region_exit();
	drover_lru_exit();
	drover_events_exit();
}

module_init(drover_init);
module_exit(drover_exit);
MODULE_AUTHOR("the drover authors");
MODULE_DESCRIPTION("dirty tracking of guest RAM by file, and memory behind a gate");
MODULE_LICENSE("GPL");
