// SPDX-License-Identifier: GPL-2.0-only
/*
 * /dev/drover: the table of commands, and how every one of them takes its structure.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt
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

long drover_ioctl(const struct drover_cmd *table, unsigned int n, struct file *file,
		  unsigned int cmd, unsigned long arg)
{
	u8 buf[DROVER_ARG_MAX] __aligned(8) = {};
	void __user *user = (void __user *)arg;
	const struct drover_cmd *c;
	u32 size;
	int r;

	/* The number's own size member is the caller's header's: not what tells commands apart. */
	for (c = table; c < table + n; c++)
		if (_IOC_TYPE(c->cmd) == _IOC_TYPE(cmd) && _IOC_NR(c->cmd) == _IOC_NR(cmd))
			break;
	if (c == table + n)
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
	r = c->fn(file, buf);
	if ((r >= 0 || r == -EINTR || r == -EFAULT) &&
	    copy_to_user(user, buf, min_t(size_t, size, c->size))) {
		if (r >= 0 && c->undo)
			c->undo(file, buf, r);
		r = -EFAULT;
	}
	return r;
}

static int cmd_caps(struct file *file, void *arg)
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
		   drover_cmd_attach, drover_undo_fd),
	DROVER_CMD(DROVER_IOC_REGION, struct drover_region, sizeof(struct drover_region),
		   drover_cmd_region, drover_undo_region),
	DROVER_CMD(DROVER_IOC_ADOPT, struct drover_adopt, sizeof(struct drover_adopt),
		   drover_cmd_adopt, drover_undo_adopt),
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
	r = drover_region_init();
	if (r)
		goto events;
	r = misc_register(&device);
	if (!r)
		return 0;
	drover_region_exit();
events:
	drover_events_exit();
	return r;
}

static void __exit drover_exit(void)
{
	misc_deregister(&device);
	drover_region_exit();
	drover_events_exit();
}

module_init(drover_init);
module_exit(drover_exit);
MODULE_AUTHOR("the drover authors");
MODULE_DESCRIPTION("dirty tracking of guest RAM by file, and memory behind a gate");
MODULE_LICENSE("GPL");
