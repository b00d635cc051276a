"""The Telegram bot: customers who buy, people who look after payments and the mesh."""
